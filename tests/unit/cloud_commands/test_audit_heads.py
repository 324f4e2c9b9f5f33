"""The end of an agent's audit log has to go on from what was known of it."""

from __future__ import annotations

import pytest

from cloud_ingest.commands.audit_heads import head_problem
from connectors.commands.reports import Hello

ONE, TWO = "a" * 64, "b" * 64


def hello(number: int, hash_: str, base: int = 0, base_hash: str = "") -> Hello:
    return Hello(
        nonce="c" * 32, journal="d" * 32, number=0, start="0" * 16, audit_number=number, audit_hash=hash_,
        audit_base=base, audit_base_hash=base_hash,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (hello(7, ONE), {}),
        (hello(7, ONE), {7: ONE}),
        (hello(9, TWO), {7: ONE}),
        (hello(9, TWO, 7, ONE), {7: ONE}),
        (hello(9, TWO, 3, ONE), {7: ONE}),  # of an entry that the cloud knows no more
        (hello(0, ""), {}),
    ],
)
def test_a_log_that_goes_on_is_no_alarm(said: Hello, known: dict[int, str]) -> None:
    assert head_problem(said, known) == ""


@pytest.mark.parametrize(
    ("said", "known", "why"),
    [
        (hello(6, ONE), {7: ONE}, "ends with entry 6, and had 7"),
        (hello(0, ""), {7: ONE}, "ends with entry 0, and had 7"),
        (hello(7, TWO), {7: ONE}, "entry 7 has the hash bbb"),
        (hello(9, TWO, 7, TWO), {7: ONE}, "entry 7 has the hash bbb"),
        (hello(9, TWO, 7, ""), {7: ONE}, "entry 7 is missing"),
    ],
)
def test_a_log_that_does_not_is_one_with_a_sentence(said: Hello, known: dict[int, str], why: str) -> None:
    assert why in head_problem(said, known)
