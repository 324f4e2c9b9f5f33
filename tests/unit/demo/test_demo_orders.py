"""What the demo tells of its orders: each thing once, in its order, and where a work order stands in a few words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lineside.demo.factory import BRACKET, COATED, opening
from lineside.demo.order_life import Life, Told, work_order_text


def work_order(state: str = "running", good: str = "0", **more: Any) -> dict[str, Any]:
    return {
        "id": "W1", "site": "demo-plant", "line": "press", "product": BRACKET, "quantity": "4", "good": good,
        "reject": "0", "state": state, "download": "none", **more,
    }  # fmt: skip


def tracking(state: str, *texts: str) -> dict[str, Any]:
    return {"state": state, "timeline": [{"text": text} for text in texts]}


def test_what_has_happened_is_told_once_and_in_its_order() -> None:
    life = Life(1, "O1", BRACKET, Decimal(4))
    assert life.take(tracking("placed", "It is placed"), []) == [Told(1, "It is placed")]
    assert life.take(tracking("placed", "It is placed"), []) == []
    running = [work_order()]
    assert life.take(tracking("released", "It is placed", "It is paid", "It is released"), running) == [
        Told(1, "It is paid"),
        Told(1, "It is released"),
        Told(1, f"demo-plant/press: 0 of 4 {BRACKET}, running"),
    ]
    told = life.take(tracking("released", "It is placed", "It is paid", "It is released"), [work_order(good="3")])
    assert told == [Told(1, f"demo-plant/press: 3 of 4 {BRACKET}, running")]
    assert not life.is_over
    life.take(tracking("shipped"), running)
    assert life.is_over


def test_a_work_order_says_what_it_lacks_and_what_it_waits_for() -> None:
    assert work_order_text(work_order("next", download="under_way")).endswith("next, its recipe is on the way")
    assert "2 rejected" in work_order_text(work_order(reject="2"))


def test_what_opens_the_factory_makes_each_thing_with_a_key_and_publishes_each_product_behind_its_routing() -> None:
    asks = opening("demo-plant/line-1")
    assert all(ask.once for ask in asks if ask.method == "POST")
    paths = [ask.path for ask in asks]
    for product in (BRACKET, COATED):
        order = [f"/{what}/{product}/{step}" for what in ("routings", "products") for step in ("draft", "published")]
        assert [path for path in paths if path in order] == order
