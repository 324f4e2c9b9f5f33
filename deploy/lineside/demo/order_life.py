"""Orders of the demo, from the first question to the last parcel: placed as a planner would, and told as they happen.

What is told comes from the API alone: the timeline of an order, its work orders on the lines, and the ledger of stock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final

from lineside.demo.access import AccessNotMade
from lineside.demo.commanding import new_key
from lineside.demo.factory import CUSTOMER, ORDERS, POWDER, SITE, STRIP, Ask, opening
from lineside.demo.office import NotAnswered, Office, Refused

LIFE_S_MAX: Final = 120.0
"""So long an order may take; then it is said how far it has come."""
SEED_S_MAX: Final = 60.0
JOIN_S_MAX: Final = 15.0
_POLL_S: Final = 0.25
_EFFECTIVENESS_EVERY_S: Final = 8.0
_EFFECTIVENESS_S_MAX: Final = 20.0
"""A running hour is worked out once in a while; so long it is waited for at the end."""
_ENDED: Final = frozenset({"shipped", "delivered", "closed", "cancelled"})
_TIMELINE_MAX: Final = 200
_EXISTS: Final = frozenset({"if_match_needed", "exists", "name_taken", "already_there"})
"""Codes of problems that say that an earlier start has made it."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line of an order's life: of which order (1, 2 …; 0 for the factory), and what."""

    order: int
    text: str


@dataclass(slots=True)
class Life:
    """What is known of one order, and what of it was told already."""

    number: int
    id: str
    product: str
    quantity: Decimal
    state: str = ""
    chapters: int = 0
    work_orders: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether all of it has left, or nothing more will."""
        return self.state in _ENDED

    def take(self, tracking: Mapping[str, Any], work_orders: Sequence[Mapping[str, Any]]) -> list[Told]:
        """What is new in the order's timeline and on the lines, in sentences."""
        told = [Told(self.number, chapter["text"]) for chapter in tracking["timeline"][self.chapters : _TIMELINE_MAX]]
        self.chapters = max(self.chapters, len(tracking["timeline"]))
        self.state = tracking["state"]
        for one in work_orders:
            now = (one["state"], one["good"])
            if self.work_orders.get(one["id"]) != now:
                self.work_orders[one["id"]] = now
                told.append(Told(self.number, work_order_text(one)))
        return told


def work_order_text(order: Mapping[str, Any]) -> str:
    """Where a work order stands, in a few words."""
    text = f"{order['site']}/{order['line']}: {order['good']} of {order['quantity']} {order['product']}"
    if order["reject"] != "0":
        text += f", {order['reject']} rejected"
    starts = ", its recipe is on the way" if order["download"] == "under_way" else ""
    return f"{text}, {order['state']}{starts}"


class OrderLife:
    """Opens the factory, places its orders, and follows them, in a thread of its own.

    ``apply_plant`` has the lines be as their file says; ``may_begin``: whether the machines are free for orders. After
    ``start``, ``stop`` is due.
    """

    def __init__(
        self,
        connect: Callable[[], Office],
        agent: str,
        apply_plant: Callable[[], None],
        may_begin: Callable[[], bool],
    ) -> None:
        self._connect = connect
        self._agent = agent
        self._apply_plant = apply_plant
        self._may_begin = may_begin
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._told: tuple[Told, ...] = ()
        self._lives: list[Life] = []
        self._effectiveness: dict[tuple[str, str], str] = {}
        self._effectiveness_due_s = 0.0
        self._problems: tuple[str, ...] = ()
        self._has_ended = False

    @property
    def told(self) -> tuple[Told, ...]:
        """What has happened, in its order."""
        return self._told

    @property
    def problems(self) -> tuple[str, ...]:
        """What did not come out as it should; complete when it is over."""
        if self.is_over and not self._has_ended:
            return (*self._problems, "nobody follows the orders any more: the traceback above says why")
        return self._problems

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S_MAX)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._connect() as office:
                self._open(office)
                if self._wait(self._may_begin):
                    self._tidy(office)
                    self._place(office)
                    self._follow(office)
        except (AccessNotMade, NotAnswered, Refused) as exc:
            if not self._stop.is_set():
                self._problems = (*self._problems, str(exc))
        self._has_ended = True

    def _open(self, office: Office) -> None:
        """Tell the API what the factory is. What is there already stays."""
        self._apply_plant()
        for number, ask in enumerate(opening(self._agent)):
            self._answered(partial(_opened, office, ask, number))
        self._note(Told(0, "the factory is open: two lines, two products, their bills of material, stock, a customer"))

    def _tidy(self, office: Office) -> None:
        """Try again what an earlier start of the demo could not start."""
        found = self._answered(partial(office.ask, "engineer", "GET", f"/work-orders?site={SITE}&state=next"))
        for one in found["work_orders"]:
            if one["download"] == "failed":
                with suppress(Refused):
                    self._answered(partial(office.ask, "engineer", "POST", f"/work-orders/{one['id']}/start", {}))

    def _place(self, office: Office) -> None:
        for number, (product, more) in enumerate(ORDERS, start=1):
            quantity = self._answered(partial(office.available, product)) + more
            body = {"customer": CUSTOMER, "lines": [{"product": product, "quantity": str(quantity)}]}
            placed = self._answered(partial(office.ask, "planner", "POST", "/orders", body, key=new_key()))
            self._lives.append(Life(number, placed["id"], product, quantity))
            total = f"{placed['total']} {placed['currency']}"
            self._note(Told(number, f"{CUSTOMER} orders {quantity} x {product} for {total}"))

    def _follow(self, office: Office) -> None:
        deadline_s = time.monotonic() + LIFE_S_MAX
        packed: set[int] = set()
        while not all(life.is_over for life in self._lives):
            if self._stop.is_set() or self._problems:
                return
            if time.monotonic() > deadline_s:
                late = [f"order {life.number} is {life.state} after {LIFE_S_MAX:g} s" for life in self._lives
                        if not life.is_over]  # fmt: skip
                self._problems = (*self._problems, *late)
                return
            for life in self._lives:
                with suppress(NotAnswered):
                    self._look(office, life)
                    self._pack(office, life, packed)
            self._look_at_lines(office)
            self._stop.wait(_POLL_S)
        with suppress(NotAnswered):
            self._sum_up(office)

    def _look_at_lines(self, office: Office) -> None:
        """Tell of each line's OEE when it has moved, every few seconds."""
        if time.monotonic() < self._effectiveness_due_s:
            return
        self._effectiveness_due_s = time.monotonic() + _EFFECTIVENESS_EVERY_S
        with suppress(NotAnswered):
            for what, text in office.effectiveness(SITE).items():
                if self._effectiveness.get(what) != text:
                    self._effectiveness[what] = text
                    self._note(Told(0, text))

    def _look(self, office: Office, life: Life) -> None:
        tracking = office.ask("planner", "GET", f"/orders/{life.id}/tracking")
        work_orders = office.ask("planner", "GET", f"/work-orders?order={life.id}")["work_orders"]
        for told in life.take(tracking, work_orders):
            self._note(told)
        failed = [one for one in work_orders if one["download"] == "failed" and one["state"] in ("next", "paused")]
        self._problems = (*self._problems, *(f"{one['line']} does not start: {one['download_why']}" for one in failed))

    def _pack(self, office: Office, life: Life, packed: set[int]) -> None:
        """Pack an order when all of it is there: that is done by hand."""
        if life.number in packed or life.is_over:
            return
        lines = office.ask("planner", "GET", f"/orders/{life.id}/tracking")["lines"]
        if not lines or any(Decimal(line["ready"]) < Decimal(line["quantity"]) for line in lines):
            return
        office.ask("planner", "POST", f"/orders/{life.id}/shipments", {}, key=f"demo pack {life.id}")
        packed.add(life.number)

    def _sum_up(self, office: Office) -> None:
        stock = ", ".join(f"{office.on_hand(item)} kg {item}" for item in (STRIP, POWDER))
        self._note(Told(0, f"in stock are {stock}"))
        deadline_s = time.monotonic() + _EFFECTIVENESS_S_MAX
        while not self._stop.is_set():
            self._effectiveness_due_s = 0.0
            self._look_at_lines(office)
            if self._effectiveness or time.monotonic() > deadline_s:
                break
            self._stop.wait(4 * _POLL_S)
        for life in self._lives:
            if life.state == "cancelled":
                self._problems = (*self._problems, f"order {life.number} was cancelled")

    def _answered(self, ask: Callable[[], Any]) -> Any:
        deadline_s = time.monotonic() + SEED_S_MAX
        while True:
            try:
                return ask()
            except NotAnswered:
                if time.monotonic() > deadline_s or self._stop.is_set():
                    raise
            self._stop.wait(4 * _POLL_S)

    def _wait(self, condition: Callable[[], bool]) -> bool:
        while not condition():
            if self._stop.wait(_POLL_S):
                return False
        return True

    def _note(self, told: Told) -> None:
        self._told = (*self._told, told)


def _opened(office: Office, ask: Ask, number: int) -> None:
    key = f"demo opening {number}" if ask.once else ""
    try:
        office.ask(ask.who, ask.method, ask.path, ask.body, key=key, if_match=ask.if_match)
    except Refused as exc:
        if exc.code not in _EXISTS:
            raise
