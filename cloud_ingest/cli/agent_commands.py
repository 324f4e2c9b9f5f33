"""``cloud-ingest command restart|rebirth|log-level|apply-file|files``: what is for an agent itself.

Sent, waited for and shown as every command; exit codes are those of ``command send``.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask_of,
    load,
    print_json,
    show,
)

if TYPE_CHECKING:
    from connectors.ports.database import Database

AgentArgument = Annotated[str, typer.Argument(help="group/name")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; kept for ever")]
ExpiresOption = Annotated[str, typer.Option(help="It is not done later than that, such as 60s or 2h")]
ApprovalOption = Annotated[bool, typer.Option("--approval", help="Wait for the approval of a second person")]
WaitOption = Annotated[str | None, typer.Option(help="Wait so long for what becomes of it, such as 10s")]
KeyOption = Annotated[str | None, typer.Option(help="Idempotency key: with the same one it is the same command")]
FILE_BYTES_MAX: Final = 1024 * 1024


def restart(
    agent: AgentArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: WhyOption = "",
    expires: ExpiresOption = "60s",
    approval: ApprovalOption = False,
    key: KeyOption = None,
    wait: WaitOption = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """End an agent in the order in which nothing is lost, and have it begin anew; its next start reports that."""
    _send(config, tenant, agent, {"do": "restart"}, reason, expires, approval, key, wait, as_json)


def rebirth(
    agent: AgentArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: WhyOption = "",
    expires: ExpiresOption = "60s",
    approval: ApprovalOption = False,
    key: KeyOption = None,
    wait: WaitOption = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Have an agent publish all its birth certificates again."""
    _send(config, tenant, agent, {"do": "rebirth"}, reason, expires, approval, key, wait, as_json)


def log_level(
    agent: AgentArgument,
    level: Annotated[str, typer.Argument(help="debug, info, warning or error")],
    config: ConfigOption = DEFAULT_CONFIG,
    length: Annotated[str, typer.Option("--for", help="For so long, then that of its file again")] = "10min",
    reason: WhyOption = "",
    expires: ExpiresOption = "60s",
    approval: ApprovalOption = False,
    key: KeyOption = None,
    wait: WaitOption = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Have an agent log from another level on, for a time."""
    from cloud_ingest.cli.commands import seconds

    action = {"do": "log_level", "level": level, "for_s": max(1, round(seconds(length, "--for")))}
    _send(config, tenant, agent, action, reason, expires, approval, key, wait, as_json)


def apply_file(
    agent: AgentArgument,
    file: Annotated[Path, typer.Argument(help="The file here")],
    name: Annotated[str, typer.Argument(help="Its path on the box, from the folder of the agent's own file")],
    config: ConfigOption = DEFAULT_CONFIG,
    replaces: Annotated[
        str | None,
        typer.Option(help="SHA-256 of what it may replace, as 'files' shows it; 'none' when there is no such file yet"),
    ] = None,
    health: Annotated[str, typer.Option(help="So long it has to read again what was read before")] = "60s",
    reason: WhyOption = "",
    expires: ExpiresOption = "1h",
    approval: ApprovalOption = False,
    key: KeyOption = None,
    wait: WaitOption = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Send a version of a device file: checked by the agent, tried, and put back by itself when it is no good."""
    from cloud_ingest.cli.commands import seconds

    try:
        content = file.read_bytes()[: FILE_BYTES_MAX + 1].decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise typer.BadParameter(f"{file} cannot be read: {exc}") from exc
    action = {
        "do": "apply_file", "name": name, "content": content, "health_s": round(seconds(health, "--health")),
        "replaces": "" if replaces == "none" else replaces,
    }  # fmt: skip
    _send(config, tenant, agent, action, reason, expires, approval, key, wait, as_json)


def files(
    agent: AgentArgument,
    name: Annotated[str | None, typer.Argument(help="Only the versions of this file")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    version: Annotated[int | None, typer.Option(help="Print what is in this version of NAME")] = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show the device files of an agent, and the versions that were asked for."""
    from cloud_ingest.cli.command_screens import files_screen
    from cloud_ingest.commands import files as stored

    if version is not None:
        if name is None:
            raise typer.BadParameter("--version is one of a file: name it")
        found = ask_of(config, tenant, lambda database, of: stored.content(database, of, agent, name, version))
        typer.echo(found, nl=False)
        return

    async def work(database: Database, of: int) -> dict[str, Any]:
        used = await stored.used_by(database, of, agent)
        wanted = [one for one in used if name in (None, one["name"])]
        return {"files": wanted, "versions": await stored.versions(database, of, agent, name)}

    shown = ask_of(config, tenant, work)
    if as_json:
        print_json(shown)
    else:
        show(files_screen(shown["files"], shown["versions"]))


def add_to(app: typer.Typer) -> None:
    """Add these to ``cloud-ingest command``."""
    for name, command in (
        ("restart", restart), ("rebirth", rebirth), ("log-level", log_level), ("apply-file", apply_file),
        ("files", files),
    ):  # fmt: skip
        app.command(name)(command)


def _send(
    config: Path,
    tenant: str,
    agent: str,
    action: dict[str, Any],
    reason: str,
    expires: str,
    approval: bool,
    key: str | None,
    wait: str | None,
    as_json: bool,
) -> None:
    from cloud_ingest.cli.commands import request_of, seconds, send_and_show

    document = {
        "agent": agent, "action": action, "reason": reason, "approval": approval,
        "expires_s": seconds(expires, "--expires"),
    }  # fmt: skip
    patterns = load(config).commands.approve
    wait_s = 0.0 if wait is None else seconds(wait, "--wait")
    request, key = request_of(document), key or secrets.token_hex(16)
    found = send_and_show(config, tenant, request, patterns, key, wait_s, as_json=as_json)
    if wait is not None and found["state"] != "succeeded":
        raise typer.Exit(EXIT_PROBLEM)
