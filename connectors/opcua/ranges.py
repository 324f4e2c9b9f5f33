"""The ranges of values that AnalogItems have (EURange, Part 8, 5.3.2), of which a deadband may be a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.opcua.addresses import plain_node_id
from connectors.opcua.attributes import attributes_of_each
from connectors.opcua.binding import BoundTag
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.tag_settings import OpcUaTag

_HAS_PROPERTY: Final = 46


async def spans_of(client: Client, tags: Sequence[BoundTag], limits: OperationLimits) -> dict[int, float]:
    """How wide the range of each tag is that has one, by index, in units of the raw value.

    Raises what asyncua raises when the connection is lost.
    """

    async def send(part: Sequence[BoundTag]) -> list[ua.BrowsePathResult]:
        return await client.uaclient.translate_browsepaths_to_nodeids([_to_range(tag.node) for tag in part])

    def refused(code: int) -> ua.BrowsePathResult:
        return ua.BrowsePathResult(StatusCode=ua.StatusCode(ua.UInt32(code)))

    answers = await limits.translations.ask(tags, send, refused)
    nodes = {
        tag.index: plain_node_id(answer.Targets[0].TargetId)
        for tag, answer in zip(tags, answers, strict=True)
        if answer.StatusCode.is_good() and answer.Targets
    }
    spans: dict[int, float] = {}
    async for index, (value,) in attributes_of_each(client, list(nodes.items()), [AttributeIds.Value], limits.reads):
        found = None if value.Value is None else value.Value.Value
        if isinstance(found, ua.Range) and found.High > found.Low:
            spans[index] = float(found.High) - float(found.Low)
    return spans


def deadband_filter(tag: OpcUaTag, spans: Mapping[int, float], index: int) -> ua.DataChangeFilter | None:
    """What the server is asked to keep the deadband of a tag by; ``None`` where there is nothing that it could keep.

    A part of the range is the server's own PercentDeadband, or an absolute one where ``spans`` has the range.
    """
    deadband = tag.deadband
    if deadband is None:
        return None
    kind, size = ua.DeadbandType.Absolute, deadband.absolute / abs(tag.scale)
    if deadband.percent_of_range:
        kind, size = ua.DeadbandType.Percent, deadband.percent_of_range
        if index in spans:
            kind, size = ua.DeadbandType.Absolute, spans[index] * deadband.percent_of_range / 100
    if size <= 0:
        return None
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=ua.UInt32(kind), DeadbandValue=size
    )


def _to_range(node: ua.NodeId) -> ua.BrowsePath:
    element: Any = ua.RelativePathElement()
    element.ReferenceTypeId = ua.NodeId(ua.Int32(_HAS_PROPERTY), ua.Int16(0))
    element.IsInverse, element.IncludeSubtypes = False, True
    element.TargetName = ua.QualifiedName("EURange", ua.UInt16(0))
    return ua.BrowsePath(StartingNode=node, RelativePath=ua.RelativePath(Elements=[element]))
