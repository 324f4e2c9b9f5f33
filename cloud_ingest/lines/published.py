"""What other parts of the platform may ask of lines."""

from __future__ import annotations

from cloud_ingest.lines.work_order_published import (
    Capacity,
    NewWorkOrder,
    PlannedWorkOrders,
    RoutingStep,
    WorkOrderFacts,
    cancel_work_order,
    capacity,
    create_work_order,
    promise,
    work_orders_of,
)

__all__ = [
    "Capacity",
    "NewWorkOrder",
    "PlannedWorkOrders",
    "RoutingStep",
    "WorkOrderFacts",
    "cancel_work_order",
    "capacity",
    "create_work_order",
    "promise",
    "work_orders_of",
]
