"""Stock, lines and catalog as the saga sees them: what these publish, within the order's own transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.catalog import published as catalog
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import published as inventory
from cloud_ingest.lines import published as lines
from cloud_ingest.orders.case import Case, Line, Need, Shipment, WorkOrder
from cloud_ingest.orders.needs import Pantry, needed_by_orders
from cloud_ingest.orders.promising import CLAIMED
from cloud_ingest.orders.rules import ZERO, quantity_text
from cloud_ingest.orders.scene import SAGA, Production
from connectors.commands.ulid import new_ulid


class PlantWorld:
    """See ``scene.World``."""

    def __init__(self, work: UnitOfWork, tenant_id: int, now_ms: int) -> None:
        self._work = work
        self._tenant = tenant_id
        self._now_ms = now_ms
        self._pantry = Pantry(work.session, tenant_id)
        self._empty: set[str] = set()
        """Items of which there was nothing left: what comes in later is told by an event."""

    def new_id(self) -> str:
        """See ``World``."""
        return new_ulid(self._now_ms)

    async def reserve(self, case: Case, line: Line, quantity: Decimal, *, first: bool = False) -> Decimal:
        """See ``World``."""
        if line.product in self._empty:
            return ZERO
        free = (await inventory.availability(self._work.session, self._tenant, line.product)).available
        if free > 0:
            free -= (await needed_by_orders(self._work.session, self._tenant, [line.product]))[line.product]
            free = min(free, self._pantry.left(line.product, free))
        if free <= quantity:
            self._empty.add(line.product)
        if first and free > 0:
            (row,) = await self._work.session.fetch(CLAIMED, self._tenant, line.product, case.order)
            free -= row["claimed"]
        wanted = min(quantity, free)
        return ZERO if wanted <= 0 else await self._reserve(case, line.product, wanted, str(line.line))

    async def _reserve(self, case: Case, item: str, quantity: Decimal, place: str) -> Decimal:
        for_ = inventory.For("order", case.order, place)
        try:
            got = await inventory.reserve(self._work, self._tenant, item, quantity, for_)
            self._pantry.spend(item, got)
            return got
        except RequestRefused:  # nobody keeps it in stock: all of it has to be made
            return ZERO

    async def release(self, case: Case) -> None:
        """See ``World``."""
        await inventory.release(self._work, self._tenant, inventory.For("order", case.order), case.reason)

    async def kept(self, case: Case) -> Mapping[tuple[int, str], Decimal]:
        """See ``World``."""
        found = await inventory.held_for(self._work.session, self._tenant, inventory.For("order", case.order))
        places = ((place.partition("/"), quantity) for place, quantity in found.items())
        return {(int(line), shipment): quantity for (line, _, shipment), quantity in places if line.isdecimal()}

    async def pack(self, case: Case, shipment: Shipment) -> None:
        """See ``World``."""
        for number, quantity in _by_item(case, shipment):
            await self._move(case, case.line(number), str(number), _parcel(shipment, number), quantity)

    async def unpack(self, case: Case, shipment: Shipment) -> None:
        """See ``World``."""
        for number, quantity in _by_item(case, shipment):
            await self._move(case, case.line(number), _parcel(shipment, number), str(number), quantity)

    async def quarantined(self, case: Case, line: Line) -> Decimal:
        """See ``World``."""
        own = [one.work_order for one in case.work_orders if one.line == line.line and one.item == line.product]
        return await inventory.quarantined(self._work.session, self._tenant, line.product, own)

    async def _move(self, case: Case, line: Line, source: str, target: str, quantity: Decimal) -> None:
        kept = inventory.For("order", case.order, source)
        try:
            await inventory.regroup(self._work, self._tenant, line.product, kept, target, quantity)
        except RequestRefused:  # nobody keeps it in stock any more
            return

    async def ship(self, case: Case, shipment: Shipment) -> dict[str, Any]:
        """See ``World``."""
        lots: dict[str, Any] = {}
        for number, quantity in _by_item(case, shipment):
            for_ = inventory.For("order", case.order, _parcel(shipment, number))
            left = await inventory.ship_reserved(self._work, self._tenant, for_)
            booked = sum((one.quantity for one in left), ZERO)
            if booked != quantity:
                said = f"{quantity_text(booked)} instead of {quantity_text(quantity)}"
                raise RuntimeError(f"order {case.order}, shipment {shipment.shipment}: stock has booked {said}")
            lots[str(number)] = [{"lot": one.lot, "quantity": quantity_text(one.quantity)} for one in left if one.lot]
        return lots

    async def receive(self, receipts: Sequence[inventory.NewReceipt], by: str) -> None:
        """Book what a customer has sent back. Raises ``RequestRefused``."""
        if receipts:
            await inventory.receive(self._work, self._tenant, receipts, by)

    async def produce(self, case: Case, line: Line, quantity: Decimal) -> Production:
        """See ``World``. Components that are made, and are not there, are planned before what needs them."""
        made = await self._pantry.product(line.product, case.currency)
        if made is None or not made.routing:
            short = f"{quantity_text(quantity)} of {line.product} are not in stock, and no routing says how it is made"
            return Production((), short, "no_routing")
        planned: list[WorkOrder] = []
        own = [one for one in case.work_orders if one.line == line.line and one.is_last and not one.is_over]
        coming: dict[str, Decimal] = {}
        for one in own:
            coming[one.item] = coming.get(one.item, ZERO) + max(ZERO, one.quantity - one.good)
        # what is under way needs components, too: both are looked at together, with what is made of these already
        whole = quantity + coming.pop(line.product, ZERO)
        await self._pantry.give_back(case.order, line.line)
        try:
            needs = await self._pantry.needs(line.product, whole, case.currency, coming)
            self._pantry.claim(case.order, line.line, needs.taken)
            for component, needed in needs.to_make:
                planned += (await self._plan(case, line, component, needed))[0]
            done, end = await self._plan(case, line, made, quantity)
        except RequestRefused as exc:  # such as a line that its routing names and is not there
            return Production(tuple(planned), str(exc), "no_routing")
        code = "components_missing" if needs.missing else ""
        taken = tuple(Need(line.line, item, much, whole) for item, much in needs.taken.items())
        return Production((*planned, *done), "; ".join(needs.missing), code, end, taken)

    async def lacks(self, case: Case) -> str:
        """See ``World``. What is made is not missed: it has work orders."""
        lacking: list[str] = []
        own = case.open_needs(await self._unbooked(case))
        products = await self._pantry.products(own, case.currency)
        bought = sorted(item for item, product in products.items() if product is None or not product.routing)
        stock = await inventory.availabilities(self._work.session, self._tenant, bought)
        others = await needed_by_orders(self._work.session, self._tenant, bought, case.order)
        for item in bought:
            short = own[item] + others[item] - stock[item].available
            if short > 0:
                lacking.append(f"{quantity_text(short)} of {item} are missing for the orders that need it")
        return "; ".join(lacking)

    async def _unbooked(self, case: Case) -> dict[int, Decimal]:
        """By line, what was counted of it and is not booked into stock yet, rejects too."""
        counted = {one.work_order: one for one in case.work_orders if one.item == case.line(one.line).product}
        products = {name: one.item for name, one in counted.items()}
        booked = await inventory.booked_pieces(self._work.session, self._tenant, products)
        found: dict[int, Decimal] = {}
        for name, one in counted.items():
            pieces = one.reject + (one.good if one.is_last else ZERO)
            found[one.line] = found.get(one.line, ZERO) + max(ZERO, pieces - booked[name])
        return found

    async def _plan(
        self, case: Case, line: Line, made: catalog.Product, quantity: Decimal
    ) -> tuple[list[WorkOrder], datetime]:
        new = lines.NewWorkOrder(
            made.code, quantity, made.routing, SAGA, due=case.wanted, order=case.order, order_line=line.line
        )
        planned = await lines.create_work_order(self._work, self._tenant, new)
        found = [
            WorkOrder(one.work_order, line.line, made.code, one.quantity, one.step == one.steps, one.state)
            for one in planned.facts
        ]
        return found, planned.end

    async def end(self, case: Case, work_order: WorkOrder, reason: str) -> None:
        """See ``World``."""
        await lines.cancel_work_order(self._work, case.tenant_id, work_order.work_order, reason, SAGA)


def _parcel(shipment: Shipment, line: int) -> str:
    """Under which name the goods of a line are reserved that are in a parcel."""
    return f"{line}/{shipment.shipment}"


def _by_item(case: Case, shipment: Shipment) -> list[tuple[int, Decimal]]:
    """The lines of ``shipment`` in the sequence in which items are locked."""
    return sorted(shipment.lines.items(), key=lambda pair: (case.line(pair[0]).product, pair[0]))
