"""An order through any history: whatever is told, in whichever sequence and how often, goods and money balance."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud_ingest.orders import facts, surprises
from cloud_ingest.orders.case import (
    REFUNDED_ELSEWHERE,
    Case,
    Kind,
    RequestState,
    Return,
    ReturnState,
    Shipment,
    ShipmentState,
)
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.facts import NotNow
from cloud_ingest.orders.rules import ZERO, State
from tests.exploration import histories
from tests.unit.cloud_orders.played_plant import UNMADE, PlayedPlant, order_line

PRODUCTS = ("valve", "pump", UNMADE)
DAY_S = 86_400.0


class OrderMachine(RuleBasedStateMachine):
    """One order, a plant, a payment provider and a carrier, who all say things twice, late, and in any sequence."""

    case: Case

    def __init__(self) -> None:
        super().__init__()
        self.plant = PlayedPlant()
        self.captured: dict[str, Decimal] = {}
        self.paid_back: Counter[str] = Counter()
        self.asked: dict[tuple[str, str], tuple[str, Decimal]] = {}
        """Requests that were told: (kind, id) → subject and amount."""
        self.said: list[tuple[str, ...]] = []

    @initialize(
        quantities=st.lists(st.integers(1, 5), min_size=1, max_size=3),
        stock=st.lists(st.integers(0, 6), min_size=3, max_size=3),
        quoted=st.booleans(),
        pack_at_once=st.booleans(),
    )
    def begin(self, quantities: list[int], stock: list[int], quoted: bool, pack_at_once: bool) -> None:
        self.plant.terms = type(self.plant.terms)(pack_at_once=pack_at_once)
        self.plant.free = {product: Decimal(quantity) for product, quantity in zip(PRODUCTS, stock, strict=True)}
        lines = [order_line(n, PRODUCTS[n - 1], quantity) for n, quantity in enumerate(quantities, 1)]
        self.case = self.plant.order(*lines, state=State.QUOTE if quoted else State.PLACED)
        self.goods = sum(self.plant.free.values(), ZERO)
        self.settle()

    def settle(self) -> None:
        self.plant.settle(self.case)
        for chapter in self.case.story:
            match chapter.told:
                case Told.PAYMENT_REQUESTED:
                    self.ask("payment", chapter.data["request"], "", chapter.data["amount"])
                case Told.REFUND_REQUESTED:
                    self.ask("refund", chapter.data["request"], chapter.data["payment"], chapter.data["amount"])
                case Told.SHIPMENT_REQUESTED:
                    self.ask("shipment", chapter.data["shipment"], "", "0")
                case _:
                    pass
        self.case.story.clear()

    def ask(self, kind: str, key: str, subject: str, amount: str) -> None:
        """What comes again under a key is the same as it was."""
        assert self.asked.setdefault((kind, key), (subject, Decimal(amount))) == (subject, Decimal(amount))

    def pick(self, kind: str, place: int) -> tuple[str, str, Decimal] | None:
        keys = [key for key in self.asked if key[0] == kind]
        if not keys:
            return None
        key = keys[place % len(keys)]
        return (key[1], *self.asked[key])

    @rule()
    def accept(self) -> None:
        with suppress(NotNow):
            facts.accept(self.case, self.plant.now, "acme")
        self.settle()

    @rule(place=st.integers(0, 5), twice=st.booleans(), other=st.booleans(), share=st.sampled_from([1, 2]))
    def money_comes_in(self, place: int, twice: bool, other: bool, share: int) -> None:
        asked = self.pick("payment", place)
        if asked is None:
            return
        payment = f"{asked[0]}{'-again' if other else ''}"
        amount = self.captured.setdefault(payment, (asked[2] / share).quantize(Decimal("0.01")))
        if not amount:
            del self.captured[payment]
        for _ in range(1 + twice):
            facts.payment_captured(self.case, self.plant.now, payment, amount, asked[0])
            self.settle()

    @rule()
    def everybody_does_what_is_next(self) -> None:
        """Otherwise hardly any history would come to a parcel."""
        case, now = self.case, self.plant.now
        if case.state is State.QUOTE:
            self.accept()
        for asked in [*case.requests_of(Kind.PAYMENT, RequestState.OPEN)]:
            self.captured[asked.request] = asked.amount
            facts.payment_captured(case, now, asked.request, asked.amount, asked.request)
        for work_order in case.work_orders:
            if not work_order.is_over:
                missing = max(ZERO, work_order.quantity - work_order.good)
                facts.work_order_changed(
                    case, now, work_order.work_order, "complete", good=work_order.good + missing, reject=ZERO
                )
                self.plant.receive(work_order.item, missing)
                self.goods += missing
        for shipment in [*case.shipments_here()]:
            facts.shipment_created(case, shipment.shipment, carrier="ups", tracking="1Z", label_url="")
        self.settle()
        self.somebody_packs(1)

    @rule(place=st.integers(0, 5))
    def payment_fails(self, place: int) -> None:
        if asked := self.pick("payment", place):
            facts.payment_failed(self.case, self.plant.now, "declined", self.plant.terms, asked[0])
            self.settle()

    @rule(place=st.integers(0, 5), works=st.booleans(), twice=st.booleans())
    def provider_answers_a_refund(self, place: int, works: bool, twice: bool) -> None:
        asked = self.pick("refund", place)
        if asked is None:
            return
        if asked[0] not in self.paid_back and not works:
            facts.refund_failed(self.case, self.plant.now, "no", self.plant.terms, asked[0])
            del self.asked["refund", asked[0]]  # a key that was refused is never accepted
        else:
            self.paid_back[asked[0]] = 1
            for _ in range(1 + twice):
                facts.refunded(self.case, self.plant.now, asked[0])
                self.settle()
        self.settle()

    @rule(place=st.integers(0, 5), share=st.sampled_from([1, 2, 3]), twice=st.booleans(), fails=st.booleans())
    def somebody_pays_back_elsewhere(self, place: int, share: int, twice: bool, fails: bool) -> None:
        """At the provider's own page: never more than is left of what has come in there."""
        payments = [one for one in self.case.payments if not one.is_by_hand]
        if not payments:
            return
        payment = payments[place % len(payments)]
        left = payment.captured - payment.refunded
        amount = (left / share).quantize(Decimal("0.01"))
        if not 0 < amount <= left:
            return
        request = self.plant.new_id()
        for _ in range(1 + twice):
            surprises.refunded_elsewhere(self.case, self.plant.now, request, payment.payment, amount, "goodwill")
            self.settle()
        if fails:
            facts.refund_failed(self.case, self.plant.now, "closed", self.plant.terms, request)
            self.settle()
        for asked in self.case.requests_of(Kind.REFUND, RequestState.WITHDRAWN):
            self.asked.pop(("refund", asked.request), None)  # what is withdrawn is not made by the provider

    @rule(state=st.sampled_from(["open", "won", "lost"]), number=st.integers(0, 2))
    def a_bank_asks(self, state: str, number: int) -> None:
        surprises.disputed(self.case, self.plant.now, f"dispute-{number}", Decimal(5), state, "fraudulent")
        self.settle()
        if state != "open":
            asked = [one for one in self.case.requests if one.request == f"dispute-{number}"]
            assert [one.state for one in asked] == [RequestState.DONE]

    @rule(place=st.integers(0, 5), works=st.booleans())
    def carrier_answers(self, place: int, works: bool) -> None:
        if asked := self.pick("shipment", place):
            if works:
                facts.shipment_created(self.case, asked[0], carrier="ups", tracking="1Z", label_url="")
            else:
                facts.shipment_failed(self.case, self.plant.now, asked[0], "no such street", self.plant.terms)
            self.settle()

    @rule(place=st.integers(0, 5))
    def carrier_delivers(self, place: int) -> None:
        if asked := self.pick("shipment", place):
            facts.tracking_changed(self.case, self.plant.now, asked[0], "delivered")
            self.settle()

    @rule(
        place=st.integers(0, 9),
        good=st.integers(0, 6),
        reject=st.integers(0, 2),
        state=st.sampled_from(["planned", "running", "complete", "closed", "cancelled"]),
        received=st.booleans(),
    )
    def line_tells(self, place: int, good: int, reject: int, state: str, received: bool) -> None:
        made = [*self.plant.made]
        if not made:
            return
        chosen = self.plant.made[made[place % len(made)]]
        facts.work_order_changed(
            self.case, self.plant.now, chosen.work_order, state, good=Decimal(good), reject=Decimal(reject)
        )
        if received:
            self.plant.receive(chosen.item, Decimal(good))
            self.goods += good
        self.settle()

    @rule(product=st.sampled_from(PRODUCTS), quantity=st.integers(1, 4))
    def stock_comes(self, product: str, quantity: int) -> None:
        self.plant.receive(product, Decimal(quantity))
        self.goods += quantity
        self.settle()

    @rule(share=st.sampled_from([1, 2]))
    def somebody_packs(self, share: int) -> None:
        lines = {line.line: line.reserved / share for line in self.case.lines if line.reserved > 0}
        shipment = Shipment(self.plant.new_id(), ShipmentState.PACKED, lines, [{"weight_kg": "1"}])
        if lines:
            with suppress(NotNow):
                facts.pack(self.case, self.plant.now, shipment, "packer")
                self.plant_does(self.plant.pack(self.case, shipment))
            self.settle()

    @rule()
    def somebody_unpacks(self) -> None:
        for shipment in [*self.case.shipments_here()]:
            if self.case.state in (State.RELEASED, State.IN_PRODUCTION, State.PACKED):
                facts.void(self.case, self.plant.now, shipment, "packer")
                self.plant_does(self.plant.unpack(self.case, shipment))
        self.settle()

    def plant_does(self, step: object) -> None:
        from tests.unit.cloud_orders.played_plant import done

        done(step)  # type: ignore[arg-type]

    @rule(share=st.sampled_from([1, 2]), arrives=st.booleans())
    def customer_sends_back(self, share: int, arrives: bool) -> None:
        lines = {
            line.line: (line.shipped - line.returned) / share
            for line in self.case.lines
            if line.shipped > line.returned
        }
        if not lines:
            return
        asked = Return(self.plant.new_id(), ReturnState.REQUESTED, lines, "wrong colour")
        with suppress(NotNow):
            facts.ask_return(self.case, self.plant.now, asked, "acme", self.plant.terms)
            self.settle()
            if arrives:
                facts.return_received(self.case, self.plant.now, asked, lines, "storeman")
            else:
                facts.return_refused(self.case, self.plant.now, asked, "scratched", "storeman")
        self.settle()

    @rule(sure=st.integers(0, 3))
    def somebody_cancels(self, sure: int) -> None:
        if sure:
            return
        with suppress(NotNow):
            facts.cancel(self.case, self.plant.now, "changed their mind", "acme")
        self.settle()

    @rule()
    def operator_retries(self) -> None:
        facts.retry(self.case, self.plant.now, "anna")
        self.settle()

    @rule(place=st.integers(0, 9))
    def operator_resolves(self, place: int) -> None:
        if not self.case.requests:
            return
        asked = self.case.requests[place % len(self.case.requests)]
        if asked.kind is Kind.REFUND and asked.state is RequestState.OPEN:
            return  # the provider may do it, too: an operator resolves what has failed
        before = {one.payment for one in self.case.payments}
        with suppress(NotNow):
            facts.resolve(self.case, self.plant.now, asked, "anna", "by bank")
            if asked.kind is Kind.REFUND:
                self.asked.pop(("refund", asked.request), None)
        for payment in self.case.payments:
            if payment.payment not in before:
                self.captured[payment.payment] = payment.captured
        self.settle()

    @rule(days=st.sampled_from([0.001, 1.0, 8.0, 31.0]))
    def time_passes(self, days: float) -> None:
        self.plant.wait(days * DAY_S)
        self.settle()

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def goods_balance(self) -> None:
        if not hasattr(self, "case"):
            return
        everywhere = sum(self.plant.free.values(), ZERO) + self.plant.held_of(self.case)
        assert everywhere + sum(self.plant.left.values(), ZERO) == self.goods
        assert self.plant.held_of(self.case) == sum((line.reserved + line.packed for line in self.case.lines), ZERO)
        for line in self.case.lines:
            assert self.plant.left.get((self.case.order, line.product), ZERO) == line.shipped
            assert line.shipped + line.cancelled <= line.quantity, "nothing ships twice"
            assert min(line.reserved, line.packed, line.shipped, line.cancelled, line.returned) >= 0
            assert line.returned <= line.shipped

    @invariant()
    def money_balances(self) -> None:
        if not hasattr(self, "case"):
            return
        case = self.case
        assert case.captured == sum(self.captured.values(), ZERO), "a message that came twice is one payment"
        assert all(ZERO <= payment.refunded <= payment.captured for payment in case.payments)
        assert case.total == sum((line.gross for line in case.lines), ZERO)
        if case.state is not State.QUOTE:
            assert case.excess <= 0, "what is not owed is on its way back"
        if any(line.shipped for line in case.lines) and case.excess < 0:
            assert any(one.subject == REFUNDED_ELSEWHERE for one in case.requests), "nothing ships that is not paid"

    @invariant()
    def a_cancelled_order_holds_nothing(self) -> None:
        if not hasattr(self, "case") or self.case.state is not State.CANCELLED:
            return
        assert not self.plant.held_of(self.case)
        assert all(one.is_over for one in self.case.work_orders)
        over = {one.work_order for one in self.case.work_orders if one.state != "cancelled"}
        assert {*self.plant.made} <= self.plant.ended | over | {
            one.work_order for one in self.case.work_orders if one.state == "cancelled"
        }
        assert self.case.captured - self.case.refunding() == self.case.refunded
        assert not any(line.shipped for line in self.case.lines)

    @precondition(lambda self: hasattr(self, "case"))
    @rule()
    def settled_again_nothing_follows(self) -> None:
        before = (self.case.state, [*self.case.lines], len(self.case.requests), len(self.case.work_orders))
        self.plant.settle(self.case)
        assert not self.case.story
        assert before == (
            self.case.state, [*self.case.lines], len(self.case.requests), len(self.case.work_orders)
        )  # fmt: skip


OrderMachine.TestCase.settings = settings(max_examples=histories(120), stateful_step_count=40)
TestOrders = OrderMachine.TestCase
