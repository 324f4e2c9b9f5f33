"""What a server is sent so that a tag gets a value: the value alone, of one variable or of one element of it.

Of a structure of which a tag is one field, the server is asked first what it has now. Nobody can keep another client
from writing it in between: what that one has written is then overwritten with what was there before. Writes of this
agent are one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import is_good, name_of
from connectors.opcua.binding import Binding, BoundTag
from connectors.opcua.parts import Part, parse_part
from connectors.opcua.structure_forms import StructureForm
from connectors.opcua.tag_settings import OpcUaTag
from connectors.ports.device import Value

Ask = Callable[[ua.ReadValueId], Awaitable[ua.DataValue]]


@dataclass(frozen=True, slots=True)
class Writes:
    """Of one connection: the tags by index, and what is known of them on the server."""

    tags: Sequence[OpcUaTag]
    binding: Binding

    async def of(self, tag: BoundTag, value: Value, what: str, ask: Ask) -> ua.WriteValue:
        """The write of ``value`` to ``tag``, without status and times, which many servers refuse (Part 4, 5.10.4).

        ``ask`` reads from the server now. Raises ``ValueError`` and ``DeviceUnavailable`` with a sentence that begins
        with ``what``: nothing was sent then.
        """
        form = tag.form
        if form is None:
            raise ValueError(f"{what}: it cannot be written, nor can a row of a matrix or a matrix of structures")
        if isinstance(form, StructureForm):
            variant = await self._structure(tag, form, value, what, ask)
        else:
            variant = form.variant(value, tag.settings)
        written = ua.WriteValue(
            NodeId=form.node or tag.node,
            AttributeId=AttributeIds.Value,
            Value=ua.DataValue(variant, StatusCode=None),
        )
        written.IndexRange = form.index_range
        return written

    async def _structure(self, tag: BoundTag, form: StructureForm, value: Value, what: str, ask: Ask) -> ua.Variant:
        rules: dict[Part, OpcUaTag] = {}
        for part, other in self._others(tag):
            if other.safety and _overlap(part[: form.rank], form.part[: form.rank]):
                raise ValueError(f"{what}: {other.name} is a part of this structure and of a safety function")
            if other.writable is not None and other.writable.limits is not None and part != form.part:
                rules[part] = other
        if form.fields and tag.settings.writable is not None and not tag.settings.is_scaled:
            rules[form.part] = tag.settings  # of an array, each number
        present = None
        if form.needs_present:
            asked = ua.ReadValueId(NodeId=tag.node, AttributeId=AttributeIds.Value)
            asked.IndexRange = form.index_range
            data = await ask(asked)
            quality = 0 if data.StatusCode is None else int(data.StatusCode.value) >> 16
            if not is_good(quality):
                said = f"the structure as the server has it now, which is read first, has quality {name_of(quality)}"
                raise DeviceUnavailable(f"{what}: {said}; nothing was sent")
            present = data.Value
        try:
            return form.variant(value, tag.settings, rules, present)
        except ValueError as exc:
            raise ValueError(f"{what}: {exc}") from exc

    def _others(self, tag: BoundTag) -> list[tuple[Part, OpcUaTag]]:
        """All tags of the variable, each with the part that it is."""
        found = []
        for index, other in enumerate(self.tags):
            bound = self.binding.bound.get(index)
            if other.at == tag.settings.at or (bound is not None and bound.node == tag.node):
                found.append((parse_part(other.part) if other.part else (), other))
        return found


def _overlap(first: Part, second: Part) -> bool:
    return all(one == other for one, other in zip(first, second, strict=False))
