"""What ``command``, ``keys`` and ``token`` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cloud_ingest.cli.screens import lock_sentence, plain, standing_sentences, table_of, time_text
from connectors.commands.states import ENDED

_PLACES = {
    "local": " (at the machine)",
    "plain": " (by a Sparkplug host, without signature)",
    "cloud": " (signed by the cloud, not asked for here)",
}
_STYLES = {"succeeded": "green", "failed": "bold red", "unknown": "bold red", "refused": "red", "expired": "yellow"}


def commands_screen(commands: Sequence[dict[str, Any]]) -> RenderableType:
    """Commands for a person, a line each."""
    if not commands:
        return Text("no command fits")
    table = table_of("id", "agent", "what", "by", "state", "since (UTC)", "")
    for one in commands:
        why = one["code"] or (one["detail"] if one["state"] in ENDED else "")
        if one["waits_for_approval"]:
            why = "waits for approval"
        table.add_row(
            one["id"],
            Text(plain(one["agent"])),
            Text(plain(what(one))),
            Text(plain(one["issuer"])),
            _state(one["state"]),
            time_text(one["changed"]),
            Text(plain(why)),
        )
    return table


def command_screen(command: dict[str, Any]) -> RenderableType:
    """A command and all its states."""
    head = table_of("", "")
    facts = {
        "command": command["id"],
        "agent": command["agent"],
        "what": what(command),
        "reason": command["reason"],
        "precondition": command["precondition"],
        "issuer": command["issuer"],
        "approved by": ", ".join(command["approvers"]) or ("nobody yet" if command["approval"] else ""),
        "came from": "" if command["origin"] == "cloud" else command["source"] or "its agent does not say",
        "expires (UTC)": time_text(command["expires"]) if command["origin"] == "cloud" else "",
    }
    for name, value in facts.items():
        if value:
            head.add_row(Text(name, "dim"), Text(plain(str(value))))
    states = table_of("time (UTC)", "state", "by", "was", "is", "")
    for state in command["states"]:
        late = "(came late)" if state["late"] else ""
        why = " ".join(part for part in (state["code"], state["reason"], late) if part)
        states.add_row(
            time_text(state["time"]),
            _state(state["state"]),
            Text(plain(state["actor"])),
            _held(state["before"]),
            _held(state["after"]),
            Text(plain(why)),
        )
    return Group(head, Text(), states)


def commanded_agents_screen(agents: Sequence[dict[str, Any]]) -> RenderableType:
    """Agents that take commands: their journals and locks."""
    if not agents:
        return Text("no agent has said hello yet")
    table = table_of("agent", "state", "journal", "commands", "hello (UTC)", "locked")
    for agent in agents:
        table.add_row(
            Text(plain(agent["agent"])),
            Text("online", "green") if agent["online"] else Text("offline", "bold red"),
            Text("restored", "bold red") if agent["restored"] else Text(agent["journal"][:8]),
            f"{agent['number']:,}",
            time_text(agent["heard"]),
            Text(plain("; ".join(lock_sentence(lock) for lock in agent["locked"])), "yellow"),
        )
        for sentence in standing_sentences(agent):
            table.add_row(Text(f"  {plain(sentence)}", "bold red"), "", "", "", "", "")
    return table


def files_screen(files: Sequence[dict[str, Any]], versions: Sequence[dict[str, Any]]) -> RenderableType:
    """The device files of an agent, and below them the versions that were asked for."""
    used = table_of("file", "version", "newest", "", "SHA-256", "")
    for one in files:
        style = {"in_sync": "green", "failed": "bold red", "out_of_sync": "yellow"}.get(one["sync"], "")
        used.add_row(
            Text(plain(one["name"])),
            str(one["version"] or one["state"]),
            str(one["newest"] or ""),
            Text(one["sync"].replace("_", " "), style),
            one["sha256"],
            Text(plain(one["message"])),
        )
    sent = table_of("file", "version", "state", "by", "since (UTC)", "command", "")
    for one in versions:
        sent.add_row(
            Text(plain(one["name"])),
            str(one["version"]),
            one["state"].replace("_", " "),
            Text(plain(one["issuer"])),
            time_text(one["changed"]),
            one["command"],
            Text(plain(one["message"])),
        )
    nothing = Text("the agent has told of no device file")
    return Group(used if files else nothing, Text(), sent if versions else Text("no version was asked for yet"))


def keys_screen(keys: Sequence[dict[str, Any]]) -> RenderableType:
    """The signing keys, by their public halves."""
    if not keys:
        return Text("there is no key; 'cloud-ingest keys create' makes one")
    table = table_of("key", "made (UTC)", "by", "retired (UTC)", "by")
    for key in keys:
        table.add_row(
            key["key_id"],
            time_text(key["created"]),
            Text(plain(key["created_by"])),
            time_text(key["retired"]),
            Text(plain(key["retired_by"] or "")),
        )
    return table


def agent_keys_screen(keys: Sequence[dict[str, Any]]) -> RenderableType:
    """The keys of agents, and those of the cloud that their agents trust."""
    if not keys:
        return Text("no agent was enrolled yet; 'cloud-ingest enrol GROUP/NAME' makes a token for one")
    table = table_of("agent", "key", "enrolled (UTC)", "token by", "retired (UTC)", "by", "trusts the cloud's keys")
    for key in keys:
        trusts = "not said" if key["trusts"] is None else ", ".join(key["trusts"]) or "none"
        table.add_row(
            Text(plain(key["agent"])),
            key["key_id"],
            time_text(key["enrolled"]),
            Text(plain(key["token_by"])),
            time_text(key["retired"]),
            Text(plain(key["retired_by"] or "")),
            Text(plain("" if key["retired"] else trusts)),
        )
    return table


def tokens_screen(tokens: Sequence[dict[str, Any]]) -> RenderableType:
    """The tokens, without themselves."""
    if not tokens:
        return Text("there is no token; 'cloud-ingest token create NAME' makes one")
    table = table_of("name", "role", "made (UTC)", "by", "revoked (UTC)", "by")
    for token in tokens:
        table.add_row(
            Text(plain(token["name"])),
            token["role"],
            time_text(token["created"]),
            Text(plain(token["created_by"])),
            time_text(token["revoked"]),
            Text(plain(token["revoked_by"] or "")),
        )
    return table


def what(command: dict[str, Any]) -> str:
    """What is to be done, in a few words."""
    action = command["action"]
    if action is None:
        return "at the machine"
    arms = "arm " if command["stage"] == "arm" else ""
    return f"{arms}{_deed(action)}{_PLACES.get(command['source'] or '', '') if command['origin'] == 'agent' else ''}"


def _deed(action: dict[str, Any]) -> str:
    """An action in a few words; one that an agent has reported may be of a kind that is not known here."""
    match action.get("do"):
        case "write":
            return f"{action.get('device')}/{action.get('tag')} = {action.get('value', '…')}"
        case "run":
            arguments = action.get("arguments", {})
            is_known = isinstance(arguments, dict)
            given = ", ".join(f"{name}={value}" for name, value in arguments.items()) if is_known else "…"
            return f"{action.get('device')}: {action.get('command')}({given})"
        case "log_level":
            return f"log level {action.get('level')} for {action.get('for_s')} s"
        case "apply_file":
            return f"file {action.get('name')} version {action.get('version')}"
        case "install_release":
            return f"release {action.get('version')} ({str(action.get('sha256'))[:12]})"
        case other:
            return str(other)


def _held(value: Any) -> Text:
    return Text("" if value is None else plain(str(value)))


def _state(state: str) -> Text:
    return Text(state, _STYLES.get(state, ""))
