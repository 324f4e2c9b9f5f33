"""``edge-agent trust``: which certificates of servers count, and this agent's own; the agent may be down.

A running agent looks at the same files: what is accepted counts with its next attempt to connect, and a session with a
certificate that is rejected ends within 15 seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, ConfigOption, JsonOption, fail, print_problems
from edge_agent.cli.json_output import print_json

if TYPE_CHECKING:
    from connectors.trust.certificates import CertificateFacts
    from connectors.trust.store import Entry, TrustStore

ThumbprintArgument = Annotated[
    str, typer.Argument(metavar="THUMBPRINT", help="Of the certificate; its first 6 digits will do")
]
_INDENT: Final = 10

app = typer.Typer(
    help="Certificates of OPC UA servers: which are trusted, which wait for that, and this agent's own.",
    no_args_is_help=True,
)


@app.command("list")
def list_certificates(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the certificates that servers have shown, trusted or not, and this agent's own."""
    with _store(config) as (store, _):
        entries = store.entries()
        own = _own_facts(store)
    if as_json:
        shown = None if own is None else own.to_json()
        print_json({"certificates": [entry.to_json() for entry in entries], "own": shown})
        return
    for entry in entries:
        _print_entry(entry)
    if not entries:
        say("no server has shown a certificate yet")
    if own is not None:
        _print_facts("own", own)


@app.command()
def accept(
    config: ConfigOption = DEFAULT_CONFIG,
    thumbprint: Annotated[
        str | None, typer.Argument(metavar="[THUMBPRINT]", help="Of a certificate that a server has shown")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A certificate that no server has shown yet, PEM or DER")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Trust a certificate from now on: compare its thumbprint with the one that the server itself shows first."""
    if (thumbprint is None) == (file is None):
        raise typer.BadParameter("name a thumbprint, or --file")
    with _store(config) as (store, _):
        entry = store.accept_file(file) if file is not None else store.accept(thumbprint or "")
    _say(entry, as_json, "trusted from now on; the agent connects with its next attempt")


@app.command()
def reject(thumbprint: ThumbprintArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Trust a certificate no more; a session that is open with it ends within 15 seconds."""
    with _store(config) as (store, _):
        entry = store.reject(thumbprint)
    _say(entry, as_json, "not trusted any more; a session with it ends within 15 seconds")


@app.command()
def own(
    config: ConfigOption = DEFAULT_CONFIG,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make a new key and certificate; every server has to accept it anew")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show this agent's own certificate, which servers have to accept; it is made where there is none."""
    from connectors.trust.certificates import facts_of
    from connectors.trust.own import CERTIFICATE_FILE, own_certificate, renew_own_certificate

    with _store(config) as (store, agent):
        if not agent:
            fail(f"{config}: 'agent' has no group or name, and a certificate is for an agent of one name", EXIT_PROBLEM)
        made = renew_own_certificate(store.folder, agent) if renew else own_certificate(store.folder, agent)
        facts = facts_of(made.certificate)
        path = store.folder / CERTIFICATE_FILE
    if as_json:
        print_json({**facts.to_json(), "path": str(path)})
        return
    _print_facts("own", facts)
    _print_line(f"copy {path} to the servers that are to accept it")
    if renew:
        _print_line("sessions that are opened from now on use it; the one before is kept beside it, as ….before")


@contextlib.contextmanager
def _store(config: Path) -> Iterator[tuple[TrustStore, str]]:
    """The trust list of the agent, and the agent's name; ends the command with a sentence on what goes wrong."""
    from connectors.model.errors import ConfigInvalid
    from connectors.trust import FOLDER
    from connectors.trust.certificates import CertificateUnusable
    from connectors.trust.store import TrustStore
    from edge_agent.config.places import agent_name, data_dir

    try:
        yield TrustStore(data_dir(config) / FOLDER), agent_name(config)
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    except CertificateUnusable as exc:
        fail(str(exc), EXIT_PROBLEM)
    except PermissionError as exc:
        who = "run the command as the agent's user, or as root"
        fail(f"the trust list {data_dir(config) / FOLDER} cannot be read: {exc.strerror}; {who}", EXIT_PROBLEM)


def _own_facts(store: TrustStore) -> CertificateFacts | None:
    from connectors.trust.certificates import facts_of, read_certificate_file
    from connectors.trust.own import CERTIFICATE_FILE

    path = store.folder / CERTIFICATE_FILE
    return facts_of(read_certificate_file(path)[0]) if path.exists() else None


def _say(entry: Entry, as_json: bool, what: str) -> None:
    if as_json:
        print_json(entry.to_json())
        return
    _print_entry(entry)
    _print_line(what)


def _print_entry(entry: Entry) -> None:
    _print_facts(entry.state, entry.facts)
    for server in entry.servers:
        _print_line(f"{server.device} {server.endpoint}")
        problems = () if entry.state == "trusted" else server.problems
        for text in (*problems, *server.warnings):
            _print_line(f"{server.device}: {text}")
        if server.has_changed and entry.state != "trusted":
            _print_line(f"{server.device}: it has changed; before, it was {server.accepted}")
    if entry.state == "rejected" and entry.servers:
        _print_line(f"to trust it: edge-agent trust accept {entry.facts.thumbprint[:12]}")


def _print_facts(label: str, facts: CertificateFacts) -> None:
    from connectors.trust.certificates import iso_utc

    _print_line(facts.thumbprint, label)
    _print_line(f"{facts.subject}, {facts.application_uri or 'for no application'}")
    issuer = "itself" if facts.self_signed else facts.issuer
    _print_line(f"valid until {iso_utc(facts.not_after_s)}, issued by {issuer}, RSA of {facts.key_bits} bits")


def _print_line(text: Any, label: str = "") -> None:
    from edge_agent.cli.terminal import Sentence, print_screen
    from edge_agent.cli.words import value_text

    print_screen(Sentence(label.ljust(_INDENT), value_text(str(text)), indent=_INDENT))
