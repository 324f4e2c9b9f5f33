"""What is sealed opens with its key at its own place, and in no other way."""

from __future__ import annotations

import os
from base64 import b64decode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connectors.model.errors import PayloadInvalid
from edge_agent.buffer.sealing import PLAIN, SEALED_BYTES, KeyLost, Sealing, key_id_of, new_key, sealed_with
from edge_agent.config.encryption import parse_key

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
SEALING = Sealing(KEY)
PLACES = st.tuples(st.integers(1, (1 << 63) - 1), st.integers(1, (1 << 63) - 1), st.integers(0, 2))


@given(payload=st.binary(max_size=300), place=PLACES)
def test_a_batch_opens_at_its_own_place(payload: bytes, place: tuple[int, int, int]) -> None:
    sealed = SEALING.seal_batch(payload, *place)
    assert SEALING.open_batch(sealed, *place) == payload
    assert SEALING.open_batch(sealed, place[0], place[1], None) == payload, "set aside: its lane is not stored"
    assert Sealing(OTHER, [KEY]).open_batch(sealed, *place) == payload
    assert len(sealed) == len(payload) + SEALED_BYTES
    assert sealed_with(sealed) == key_id_of(KEY) == SEALING.key_id


@given(payload=st.binary(max_size=40), place=PLACES, other=PLACES)
def test_a_batch_that_was_moved_does_not_open(
    payload: bytes, place: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assume(place != other)
    sealed = SEALING.seal_batch(payload, *place)
    with pytest.raises(PayloadInvalid):
        SEALING.open_batch(sealed, *other)


@given(data=st.data(), payload=st.binary(max_size=60))
def test_one_wrong_bit_is_found(data: st.DataObject, payload: bytes) -> None:
    sealed = bytearray(SEALING.seal_batch(payload, 7, 8, 2))
    bit = data.draw(st.integers(4 * 8, len(sealed) * 8 - 1))  # without its first four bytes it is not a sealed one
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PayloadInvalid):
        SEALING.open_batch(bytes(sealed), 7, 8, 2)


@given(data=st.data(), payload=st.binary(max_size=60))
def test_a_sealed_row_that_is_cut_off_is_found(data: st.DataObject, payload: bytes) -> None:
    sealed = SEALING.seal_batch(payload, 7, 8, 2)
    cut = sealed[: data.draw(st.integers(SEALED_BYTES, len(sealed) - 1))] if payload else sealed + b"\0"
    with pytest.raises(PayloadInvalid):
        SEALING.open_batch(cut, 7, 8, 2)


def test_without_its_key_a_value_is_lost_and_the_key_is_named() -> None:
    sealed = SEALING.seal_batch(b"12.5 kN", 7, 8, 2)
    for without in (PLAIN, Sealing(OTHER)):
        with pytest.raises(KeyLost, match=f"key {key_id_of(KEY)}, which is not configured") as caught:
            without.open_batch(sealed, 7, 8, 2)
        assert caught.value.key_id == key_id_of(KEY)
        with pytest.raises(KeyLost):
            without.open_text(SEALING.seal_text("ram/force", "alias 1"), "alias 1")


@given(text=st.text(max_size=40))
def test_a_name_opens_at_its_own_place_only(text: str) -> None:
    sealed = SEALING.seal_text(text, "alias 1")
    assert isinstance(sealed, bytes)
    assert SEALING.open_text(sealed, "alias 1") == text
    with pytest.raises(PayloadInvalid):
        SEALING.open_text(sealed, "alias 2")
    with pytest.raises(PayloadInvalid):
        SEALING.open_batch(sealed, 1, 1, 0)


@given(plain=st.binary(max_size=80).filter(lambda data: not data.startswith(b"LSE\x01")), text=st.text(max_size=20))
def test_what_is_plain_stays_as_it_is_with_and_without_keys(plain: bytes, text: str) -> None:
    for sealing in (PLAIN, SEALING):
        assert sealing.open_batch(plain, 1, 2, 2) == plain
        assert sealing.open_text(text, "alias 1") == text
    assert PLAIN.seal_batch(plain, 1, 2, 2) is plain
    assert PLAIN.seal_text(text, "alias 1") is text
    assert sealed_with(plain) == sealed_with(text) == ""


def test_the_same_batch_never_looks_the_same_twice() -> None:
    assert len({SEALING.seal_batch(b"12.5 kN", 7, 8, 2) for _ in range(100)}) == 100


def test_a_value_is_sealed_anew_with_the_key_of_now() -> None:
    rotated, off = Sealing(OTHER, [KEY]), Sealing(None, [KEY])
    sealed = SEALING.seal_batch(b"12.5 kN", 7, 8, 2)
    assert SEALING.is_current(sealed)
    assert not rotated.is_current(sealed)
    again = rotated.reseal_batch(sealed, 7, 8, None)
    assert rotated.is_current(again)
    assert Sealing(OTHER).open_batch(again, 7, 8, 2) == b"12.5 kN"
    assert off.reseal_batch(sealed, 7, 8, 2) == b"12.5 kN"
    assert off.is_current(b"12.5 kN")


def test_a_new_key_is_one_that_the_setting_takes() -> None:
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(parse_key(key) == b64decode(key) for key in keys)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        Sealing(os.urandom(size))
