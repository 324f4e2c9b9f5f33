"""What another configuration changes in a running agent; compared only, nothing is done here.

A setting that is in none of ``LIVE`` takes effect with the next start: what runs after a reload keeps the old one, and
says so by name. A section that is added to the agent's file later is one of these until it is entered here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel

from connectors.configuration.setting_names import counted
from connectors.ports.settings import DeviceSettings, TagSettings
from edge_agent.config.models import AgentConfig

UPLINK_LIVE: Final = frozenset(
    {"insecure", "brokers", "user", "password", "ca_file", "cert_file", "key_file", "keep_alive_s", "mqtt_version"}
)  # fmt: skip
"""They hold from the next connection to a broker on; the present one ends for them."""

LIVE: Final[Mapping[str, frozenset[str]]] = {
    "agent": frozenset({"description", "commissioning", "remote_commands", "remote_files"}),
    "uplink": UPLINK_LIVE,
    "observability": frozenset({"log_level"}),
}
"""By section: the settings that a reload applies."""

LIVE_SECTIONS: Final = frozenset({"reload", "include", "templates", "defaults", "devices"})
"""All of these. What the files say by templates and defaults shows in the devices."""

DEVICE_ADJUSTED: Final = frozenset({"commands", "plain_commands"})
TAG_ADJUSTED: Final = frozenset(
    {"writable", "safety", "deadband", "report_interval_s_min", "report_interval_s_max", "lane"}
)
"""What the agent itself acts on and no driver: changing it leaves the connection as it is, unless the driver acts on
it, too (``DriverType.acts_on``)."""
SETTINGS_SAID_MAX: Final = 5

How = Literal["added", "removed", "changed", "adjusted"]


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What becomes of one device; ``said`` tells what is other than before.

    ``changed``: its driver is stopped and another one started; ``adjusted``: it goes on, and misses nothing.
    """

    device: str
    how: How
    said: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload does. ``config`` is what runs afterwards: the old one in what waits for a restart.

    ``live`` and ``restart`` are settings by their names in the file: those that take effect, and those that do not
    before the agent is restarted.
    """

    config: AgentConfig
    devices: tuple[DeviceChange, ...] = ()
    uplink: bool = False
    live: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    @property
    def are_none(self) -> bool:
        """Whether everything is as it was."""
        return not (self.devices or self.live or self.restart)

    def of(self, *hows: How) -> tuple[str, ...]:
        """The devices of which one of these becomes."""
        return tuple(change.device for change in self.devices if change.how in hows)


def changes(before: AgentConfig, after: AgentConfig, acts_on: Callable[[str], frozenset[str]]) -> Changes:
    """What going from ``before`` to ``after`` changes; ``acts_on``: see ``DriverType``, by the driver's name."""
    live: list[str] = []
    restart: list[str] = []
    updates: dict[str, Any] = {}
    for section in AgentConfig.model_fields:
        old, new = getattr(before, section), getattr(after, section)
        if section in LIVE_SECTIONS:
            updates[section] = new
            if section == "reload":
                live += [f"reload.{_key(old, field)}" for field in _differing(old, new)]
        elif old != new:
            updates[section] = _section(section, old, new, live, restart)
    devices = tuple(_devices(before, after, acts_on))
    uplink = before.uplink != updates.get("uplink", before.uplink)
    config = before.model_copy(update=updates)
    return Changes(config, devices, uplink, tuple(sorted(live)), tuple(sorted(restart)))


def _section(name: str, old: Any, new: Any, live: list[str], restart: list[str]) -> Any:
    """A section as it runs after the reload; notes which of its settings take effect, and which do not."""
    if not isinstance(old, BaseModel) or not isinstance(new, BaseModel):
        restart.append(name)
        return old
    found = _differing(old, new)
    known = LIVE.get(name, frozenset())
    live += [f"{name}.{_key(old, field)}" for field in found if field in known]
    restart += [f"{name}.{_key(old, field)}" for field in found if field not in known]
    return old.model_copy(update={field: getattr(new, field) for field in found if field in known})


def _differing(old: BaseModel, new: BaseModel) -> list[str]:
    return [field for field in type(new).model_fields if getattr(old, field, None) != getattr(new, field)]


def _key(model: BaseModel, field: str) -> str:
    """A setting as the file names it."""
    return type(model).model_fields[field].alias or field


def _devices(before: AgentConfig, after: AgentConfig, acts_on: Callable[[str], frozenset[str]]) -> list[DeviceChange]:
    old = {device.name: device for device in before.devices}
    new = {device.name: device for device in after.devices}
    gone = old.keys() - new.keys()
    found = [DeviceChange(name, "removed", counted(len(old[name].tags), "tag")) for name in gone]
    for name, device in new.items():
        if name not in old:
            found.append(DeviceChange(name, "added", counted(len(device.tags), "tag")))
        elif (change := _device(old[name], device, acts_on(device.driver))) is not None:
            found.append(change)
    return sorted(found, key=lambda change: change.device)


def _device(old: DeviceSettings, new: DeviceSettings, acts_on: frozenset[str]) -> DeviceChange | None:
    if type(old) is not type(new) or old.driver != new.driver:
        return DeviceChange(new.name, "changed", f"driver {old.driver}, now {new.driver}")
    fields = _differing(old, new)
    if not fields:
        return None
    others = [field for field in fields if field != "tags"]
    said = [_key(new, field) for field in others[:SETTINGS_SAID_MAX]]
    is_adjusted = DEVICE_ADJUSTED.issuperset(others)
    if "tags" in fields:
        tags, tag_fields = _tags(old.tags, new.tags)
        said.append(tags)
        is_adjusted = is_adjusted and tag_fields is not None and (TAG_ADJUSTED - acts_on).issuperset(tag_fields)
    return DeviceChange(new.name, "adjusted" if is_adjusted else "changed", ", ".join(said))


def _tags(old: tuple[TagSettings, ...], new: tuple[TagSettings, ...]) -> tuple[str, set[str] | None]:
    """What is other about the tags, in words; and which of their settings are, if they are the same tags in order."""
    before, after = {tag.name: tag for tag in old}, {tag.name: tag for tag in new}
    fields: set[str] = set()
    others = 0
    for name, tag in after.items():
        if name in before and (found := _differing(before[name], tag)):
            others += 1
            fields.update(found)
            if type(before[name]) is not type(tag):
                fields.add("name")
    counts = (
        (len(after.keys() - before.keys()), "added"),
        (len(before.keys() - after.keys()), "removed"),
        (others, "changed"),
    )
    said = ", ".join(f"{counted(count, 'tag')} {what}" for count, what in counts if count)
    if list(before) != list(after):
        return said or "the order of its tags", None
    return said, fields
