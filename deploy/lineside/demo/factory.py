"""What the demo's factory is: two lines, what they make and of what, and what was in stock when it was opened.

All of it is told to the API, as any planner and engineer would; a second start finds it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from lineside.machines.oven import BELT_FASTEST_M_PER_MIN, PART_PITCH_M

SITE: Final = "demo-plant"
PRESS_LINE: Final = "press"
OVEN_LINE: Final = "oven"
BRACKET: Final = "BRACKET-40"
COATED: Final = "BRACKET-40-COATED"
STRIP: Final = "STEEL-STRIP"
POWDER: Final = "POWDER-RAL5010"
PIECES_PER_MIN: Final = 58
"""The recipe of brackets: strokes of the press a minute."""
PRESS_CYCLE_S: Final = "0.8"
"""At the 75 strokes a minute that the press is built for; its tool bears 60."""
OVEN_CYCLE_S: Final = f"{60 * PART_PITCH_M / BELT_FASTEST_M_PER_MIN:.2f}"
"""With the belt at its fastest."""
CUSTOMER: Final = "acme"

Who = Literal["planner", "engineer"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that opens the factory. ``once``: it makes something, and carries a key of its own."""

    who: Who
    method: Literal["POST", "PUT"]
    path: str
    body: Mapping[str, Any]
    once: bool = False
    if_match: str = ""


def opening(agent: str) -> Sequence[Ask]:
    """What is asked of the API, in this order. The lines themselves are in ``plant.yaml``."""
    return (
        *_lines(agent),
        *_stock(),
        *_catalog(),
        Ask("planner", "POST", "/customers", _customer(), once=True),
    )


def _lines(agent: str) -> Sequence[Ask]:
    speed = {"agent": agent, "device": "press", "tag": "ram/setpoint"}
    by_itself = {"completes_itself": True, "starts_next": True}
    lines = f"/work-orders/lines/{SITE}"
    return (
        Ask("engineer", "PUT", f"{lines}/{PRESS_LINE}/settings", {**by_itself, "parameters": {"speed": speed}},
            if_match="*"),
        Ask("engineer", "PUT", f"{lines}/{OVEN_LINE}/settings", by_itself, if_match="*"),
    )  # fmt: skip


def _stock() -> Sequence[Ask]:
    items = (
        {"code": STRIP, "name": "Steel strip 40 x 2", "kind": "raw", "unit": "kg", "reorder_point": "20",
         "reorder_quantity": "200", "supplier": "Strip & Coil"},
        {"code": POWDER, "name": "Powder, gentian blue", "kind": "raw", "unit": "kg"},
        {"code": BRACKET, "name": "Bracket 40", "kind": "product"},
        {"code": COATED, "name": "Bracket 40, coated", "kind": "product"},
    )  # fmt: skip
    boms = (
        (BRACKET, [{"component": STRIP, "quantity": "0.35", "scrap_factor": "0.02"}]),
        (COATED, [{"component": BRACKET, "quantity": "1"}, {"component": POWDER, "quantity": "0.012"}]),
    )
    received = ((STRIP, "250"), (POWDER, "25"))
    return (
        *(Ask("planner", "POST", "/items", item, once=True) for item in items),
        Ask("planner", "POST", "/locations", {"code": SITE, "name": "Demo plant", "kind": "site"}, once=True),
        *(Ask("planner", "POST", f"/boms/{item}", {"lines": lines}, once=True) for item, lines in boms),
        *(Ask("planner", "PUT", f"/line-stock/{SITE}/{line}", {"components_at": SITE, "products_to": SITE},
              if_match="*") for line in (PRESS_LINE, OVEN_LINE)),
        *(Ask("planner", "POST", "/movements",
              {"kind": "receipt", "item": item, "quantity": quantity, "to": SITE, "reason": "opening stock"}, once=True)
          for item, quantity in received),
    )  # fmt: skip


def _catalog() -> Sequence[Ask]:
    pressed = {"site": SITE, "line": PRESS_LINE, "ideal_cycle_s": PRESS_CYCLE_S, "setup_s": "5",
               "recipe": {"speed": float(PIECES_PER_MIN)}}  # fmt: skip
    baked = {"site": SITE, "line": OVEN_LINE, "ideal_cycle_s": OVEN_CYCLE_S, "setup_s": "5", "recipe": {}}
    made = (
        (BRACKET, "Bracket 40", "Winkel 40", "3.20", "0.340", pressed),
        (COATED, "Bracket 40, coated", "Winkel 40, beschichtet", "4.90", "0.352", baked),
    )
    asks: list[Ask] = []
    for code, english, german, price, weight_kg, step in made:
        routing = {"name": english, "steps": [step]}
        product = {
            "names": {"en": english, "de": german},
            "prices": [{"currency": "EUR", "amount": price}],
            "tax_rate": "0.19",
            "weight_kg": weight_kg,
            "sold": True,
            "routing": code,
        }
        for what, body in (("routings", routing), ("products", product)):
            asks += [
                Ask("planner", "PUT", f"/{what}/{code}/draft", body),
                Ask("planner", "PUT", f"/{what}/{code}/published", {}, if_match="*"),
            ]
    return asks


def _customer() -> dict[str, Any]:
    address = {"name": "Acme", "street": "Hauptstr. 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
    return {
        "customer": CUSTOMER,
        "name": "Acme GmbH",
        "email": "buy@acme.example",
        "addresses": {"delivery": address},
    }


ORDERS: Final = ((BRACKET, 6), (COATED, 2))
"""What is ordered, beyond what is in stock. For a coated bracket, a bracket has to be pressed first."""
