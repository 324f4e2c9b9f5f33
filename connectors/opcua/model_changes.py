"""What a server says of itself when nodes have come or gone (ModelChangeEvents, Part 3, 9.32)."""

from __future__ import annotations

from typing import Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from connectors.opcua.event_fields import select_clauses

HANDLE: Final = 0xFFFF_FFFE
"""Of the monitored item, and of no tag."""
_QUEUE_SIZE: Final = 10


def model_changes_item() -> ua.MonitoredItemCreateRequest:
    """Events of the server that are ModelChangeEvents, and no others."""
    kind = ua.NodeId(ua.Int32(ObjectIds.BaseModelChangeEventType), ua.Int16(0))
    only = ua.ContentFilterElement(
        FilterOperator=ua.FilterOperator.OfType,
        FilterOperands=[ua.LiteralOperand(Value=ua.Variant(kind, ua.VariantType.NodeId))],
    )
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(
            NodeId=ua.NodeId(ua.Int32(ObjectIds.Server), ua.Int16(0)), AttributeId=AttributeIds.EventNotifier
        ),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=ua.UInt32(HANDLE),
            SamplingInterval=0.0,
            QueueSize=ua.UInt32(_QUEUE_SIZE),
            DiscardOldest=True,
            Filter=ua.EventFilter(SelectClauses=select_clauses(), WhereClause=ua.ContentFilter(Elements=[only])),
        ),
    )
