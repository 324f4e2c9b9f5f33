"""Whether a device file that comes from the cloud allows more than the one before. Pure.

The engineer at the machine decides what may be written, and where secrets are sent; whoever can send files must not be
able to decide it for him. So a file from the cloud may take such powers away, and may change what is read; what gives
power stays as it is: the writable tags, the named commands, what their conditions look at, and the connection of a
device that has any of these, or a secret. No connection becomes less secure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.commands.expression import ExpressionInvalid, TagPlace, parse_expression
from connectors.ports.settings import DerivedTagSettings, DeviceSettings, TagSettings

Devices = Mapping[str, DeviceSettings]
HARMLESS: Final = frozenset(
    {
        "name", "tags", "derived", "commands", "plain_commands", "poll_s", "publishing_s", "sampling_s", "queue_size",
        "report_interval_s_max", "silence_s_max",
    }
)  # fmt: skip
"""Settings of a device that say nothing of which one it is, or as whom it is spoken to."""


def widened(before: Devices, after: Devices, secrets_before: Secrets, secrets_after: Secrets) -> list[str]:
    """Every way in which ``after`` allows more than ``before``, a sentence each; empty when it does not."""
    found: list[str] = []
    looked_at = {place for device in after.values() for place in _looked_at(device)}
    for name, device in after.items():
        known = before.get(name)
        found += _powers(known, device)
        secrets, known_secrets = secrets_after.get(name, {}), secrets_before.get(name, {})
        for place, reference in secrets.items():
            if known_secrets.get(place) != reference:
                found.append(f"{name}: {place} names the secret {reference}, and did not before")
        guards = _with_inputs({str(place.tag) for place in looked_at if place.device == name}, device)
        found += _guards(known, device, guards)
        if (
            (_has_power(device) or guards or secrets)
            and known is not None
            and _connection(known) != _connection(device)
        ):
            found.append(f"{name}: its connection is another, and it is written, guards what is, or has a secret")
        if known is not None:
            found += [f"{name}: {what}, and was not before" for what in sorted(device.weaknesses - known.weaknesses)]
    return found


Secrets = Mapping[str, Mapping[str, str]]
"""By device: the references to secrets, by where they stand in it."""


def secrets_of(document: Any) -> dict[str, dict[str, str]]:
    """The references to secrets of the devices in the value of a YAML document."""
    devices = document.get("devices", ()) if isinstance(document, dict) else ()
    found: dict[str, dict[str, str]] = {}
    for device in devices if isinstance(devices, tuple) else ():
        if isinstance(device, dict) and isinstance(device.get("name"), str):
            found[device["name"]] = dict(_references(device, ""))
    return found


def _references(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _references(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, tuple):
        for at, part in enumerate(value):
            yield from _references(part, f"{place}[{at}]")
    elif isinstance(value, str) and "${" in value:
        yield place, value


def _has_power(device: DeviceSettings) -> bool:
    return (
        bool(device.commands)
        or device.plain_commands == "allow"
        or any(tag.writable is not None for tag in device.tags)
    )


def _powers(known: DeviceSettings | None, device: DeviceSettings) -> Iterator[str]:
    if device.plain_commands == "allow" and (known is None or known.plain_commands != "allow"):
        yield f"{device.name}: 'plain_commands: allow' is new"
    tags = _tags(known)
    for tag in device.tags:
        earlier = tags.get(tag.name)
        if tag.writable is not None and earlier != tag:
            what = "is new" if earlier is None or earlier.writable is None else "is not as it was"
            yield f"{device.name}/{tag.name}: it is writable, and that {what}"
        if earlier is not None and earlier.safety and not tag.safety:
            yield f"{device.name}/{tag.name}: 'safety: true' is taken away"
    for name, command in device.commands.items():
        if known is None or known.commands.get(name) != command:
            yield f"{device.name}: the command {name!r} is new, or not as it was"


def _guards(known: DeviceSettings | None, device: DeviceSettings, guards: set[str]) -> Iterator[str]:
    """Tags that conditions look at: whoever can point one at something else can have any condition hold."""
    tags, now = _all_tags(known), _all_tags(device)
    for name in sorted(guards & now.keys()):
        if tags.get(name) != now[name]:
            yield f"{device.name}/{name}: a condition looks at it, and it is not as it was"


def _looked_at(device: DeviceSettings) -> Iterator[TagPlace]:
    conditions = [tag.writable.interlock for tag in device.tags if tag.writable is not None]
    for command in device.commands.values():
        conditions += [command.interlock, *(step.wait for step in (*command.steps, *command.otherwise))]
    for condition in conditions:
        if condition is not None:
            try:
                yield from parse_expression(condition).tags
            except ExpressionInvalid:  # the checker has said so
                continue


def _with_inputs(names: set[str], device: DeviceSettings) -> set[str]:
    """``names``, and the tags that those of them are calculated from which are derived."""
    if not device.derived:
        return names
    from connectors.commands.formula import parse_formula

    inputs = {tag.name: parse_formula(tag.formula, device.tag_names()).inputs for tag in device.derived}
    found, waiting = set(names), list(names)
    while waiting:
        new = inputs.get(waiting.pop(), frozenset()) - found
        found |= new
        waiting += new
    return found


def _connection(device: DeviceSettings) -> dict[str, Any]:
    return {name: getattr(device, name) for name in type(device).model_fields if name not in HARMLESS}


def _tags(device: DeviceSettings | None) -> dict[str, TagSettings]:
    return {} if device is None else {str(tag.name): tag for tag in device.tags}


def _all_tags(device: DeviceSettings | None) -> dict[str, TagSettings | DerivedTagSettings]:
    return {} if device is None else {**_tags(device), **{tag.name: tag for tag in device.derived}}
