"""What the births of a node have told of its metrics: names, aliases, types, properties; bounded, without I/O.

A node is somebody else's program, and may tell ever more of itself. What goes beyond a bound is refused with the
reason, and everything told before stays as it is.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.definition import DESCRIPTION_PROPERTY, UNIT_PROPERTY
from connectors.sparkplug.metric_value import text_of
from connectors.sparkplug.structured_value import MemberTypes, member_types, property_values, to_json
from connectors.sparkplug.type_numbers import stored_type

METRICS_PER_NODE_MAX: Final = 1_000_000
PROPERTIES_PER_METRIC_MAX: Final = 256
PROPERTIES_BYTES_MAX: Final = 32_768
"""Of the properties of one metric as JSON: they are stored beside the tag, and written anew when one changes."""
TEMPLATE_BYTES_PER_NODE_MAX: Final = 8_000_000
"""Of the names of all templates and members that a node and its devices have told, with what a dictionary adds."""
_ENTRY_BYTES: Final = 100
_OF_THE_SAMPLE: Final = ("Quality", "StatusCode")


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What a node tells of a metric beside its values; ``properties`` is JSON, or empty."""

    type_number: int
    unit: str = ""
    description: str = ""
    properties: str = ""


@dataclass(slots=True)
class BornMetric:
    """One metric of the newest birth; ``properties`` as data has changed them since."""

    name: str
    datatype: DataType
    facts: MetricFacts
    properties: dict[str, Any]


@dataclass(slots=True)
class _Owner:
    """What the node itself (device ``""``) or one of its devices has told."""

    names: dict[str, BornMetric] = field(default_factory=dict)
    aliases: set[int] = field(default_factory=set)
    members: dict[str, dict[str, int]] = field(default_factory=dict)
    template_bytes: int = 0


class BornMetrics:
    """The metrics of one node and its devices, as their newest births have them."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}
        self._aliases: dict[int, tuple[str, BornMetric]] = {}
        self._name_count = 0
        self._template_bytes = 0

    def clear(self) -> None:
        """The node is born again: nothing that was told before counts."""
        self._owners.clear()
        self._aliases.clear()
        self._name_count = self._template_bytes = 0

    def forget(self, device: str) -> None:
        """The device is born again, or dead. Takes as long as it has metrics, however many other devices there are."""
        owner = self._owners.pop(device, None)
        if owner is None:
            return
        for alias in owner.aliases:
            if (found := self._aliases.get(alias)) is not None and found[0] == device:
                del self._aliases[alias]
        self._name_count -= len(owner.names)
        self._template_bytes -= owner.template_bytes

    def members(self, device: str) -> MemberTypes:
        """The members of the templates that ``device`` may use: those of the node, and its own before them."""
        own, of_node = self._owners.get(device), self._owners.get("")
        return ChainMap({} if own is None else own.members, {} if of_node is None else of_node.members)

    def learn(self, device: str, metric: pb.Metric, refused: list[str]) -> BornMetric:
        """A metric of a birth. Raises ``PayloadInvalid`` when there cannot be such a one, or when there are too many.

        What is wrong with its properties goes into ``refused``: then it has none.
        """
        if not metric.name:
            raise PayloadInvalid(f"a birth has a metric without a name (alias {metric.alias})")
        name = text_of(metric.name)
        try:
            datatype = stored_type(metric.datatype)
        except PayloadInvalid as exc:
            raise PayloadInvalid(f"the metric {name[:80]!r} has {exc}") from exc
        if max(self._name_count, len(self._aliases)) >= METRICS_PER_NODE_MAX:
            raise PayloadInvalid(f"the node has more than {METRICS_PER_NODE_MAX} metrics")
        owner = self._owners.setdefault(device, _Owner())
        self._learn_template(owner, metric)
        properties = self._properties(metric, {}, refused)
        known = BornMetric(name, datatype, _facts(metric, properties), properties)
        self._name_count += name not in owner.names
        owner.names[name] = known
        if metric.HasField("alias"):
            owner.aliases.add(metric.alias)
            self._aliases[metric.alias] = (device, known)
        return known

    def find(self, device: str, metric: pb.Metric, refused: list[str]) -> BornMetric:
        """The metric that data is of; properties that it brings have changed. Raises ``PayloadInvalid`` for none."""
        if metric.name:
            owner = self._owners.get(device)
            known = None if owner is None else owner.names.get(metric.name)
            if known is None:
                raise PayloadInvalid(f"unknown metric {metric.name[:80]!r}")
        else:
            found = self._aliases.get(metric.alias)
            if found is None or found[0] != device:
                raise PayloadInvalid(f"unknown alias {metric.alias}")
            known = found[1]
        if not all(key in _OF_THE_SAMPLE for key in metric.properties.keys):
            # Data brings properties that have changed; the others stay as the birth has told them.
            known.properties = self._properties(metric, known.properties, refused)
            told, before = _facts(metric, known.properties), known.facts
            known.facts = replace(
                told, type_number=before.type_number, description=told.description or before.description
            )
        return known

    def _learn_template(self, owner: _Owner, metric: pb.Metric) -> None:
        types = member_types(metric.template_value)
        if not types:
            return
        reference = metric.template_value.template_ref or metric.name
        own, of_node = owner.members.get(reference), self._owners.get("")
        known = own
        if known is None:
            known = {} if of_node is None else of_node.members.get(reference, {})
        merged = known | types
        more = _bytes_of(reference, merged) - (0 if own is None else _bytes_of(reference, own))
        if self._template_bytes + more > TEMPLATE_BYTES_PER_NODE_MAX:
            raise PayloadInvalid(
                f"the metric {metric.name[:80]!r}: the names in the templates of the node take more than "
                f"{TEMPLATE_BYTES_PER_NODE_MAX} bytes"
            )
        owner.members[reference] = merged
        owner.template_bytes += more
        self._template_bytes += more

    def _properties(self, metric: pb.Metric, before: dict[str, Any], refused: list[str]) -> dict[str, Any]:
        """``before``, and what ``metric`` tells; ``before`` alone, and the reason, when that cannot be."""
        try:
            together = before | property_values(metric.properties)
            if len(together) > PROPERTIES_PER_METRIC_MAX:
                raise PayloadInvalid(f"it has more than {PROPERTIES_PER_METRIC_MAX} properties")
            if together and len(to_json(together).encode()) > PROPERTIES_BYTES_MAX:
                raise PayloadInvalid(f"its properties take more than {PROPERTIES_BYTES_MAX} bytes")
        except PayloadInvalid as exc:
            refused.append(f"the metric {metric.name[:80] or metric.alias!r}: {exc}")
            return before
        return together


def _bytes_of(reference: str, members: Mapping[str, int]) -> int:
    return _ENTRY_BYTES + len(reference) + sum(_ENTRY_BYTES + len(name) for name in members)


def _facts(metric: pb.Metric, properties: dict[str, Any]) -> MetricFacts:
    unit, description = properties.get(UNIT_PROPERTY), properties.get(DESCRIPTION_PROPERTY)
    others = {
        key: value
        for key, value in properties.items()
        if key not in (UNIT_PROPERTY, DESCRIPTION_PROPERTY, *_OF_THE_SAMPLE)
    }
    return MetricFacts(
        metric.datatype,
        unit if isinstance(unit, str) else "",
        description if isinstance(description, str) else text_of(metric.metadata.description),
        to_json(others) if others else "",
    )
