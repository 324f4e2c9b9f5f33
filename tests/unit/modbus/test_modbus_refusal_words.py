"""A refusal of a Modbus unit is said with the unit it came from and what to check."""

from __future__ import annotations

import pytest

from connectors.modbus.exception_codes import REFUSALS, UNIT_ABSENT, absence_sentence, meaning_of, refusal_sentence


def test_a_refused_tag_names_place_unit_and_exception() -> None:
    assert refusal_sentence("holding 17", 3, 2, 7) == (
        "holding 17: unit 7 refuses to read it (function 3, exception 2, illegal data address): check the table "
        "(holding or input, coil or discrete) and the address, which counts from 0: a manual that counts from 1, or "
        "from 40001, names the next number; and check unit_id"
    )


def test_a_unit_that_a_gateway_cannot_reach_is_named_with_what_to_check() -> None:
    assert absence_sentence("10.0.0.5:502", 7, 10) == (
        "10.0.0.5:502 answers that unit 7 cannot be reached (exception 10, gateway path unavailable): check unit_id, "
        "and the routing of the gateway"
    )
    assert "exception 11, gateway target device failed to respond): check unit_id" in absence_sentence("a:1", 7, 11)


@pytest.mark.parametrize("code", [*range(1, 12), 99])
def test_every_exception_says_what_to_do(code: int) -> None:
    assert meaning_of(code).advice
    assert not REFUSALS & UNIT_ABSENT
