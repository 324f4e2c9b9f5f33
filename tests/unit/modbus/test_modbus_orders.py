"""One order of bytes has many names; all of them mean the same registers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.modbus.settings import ModbusTag


def order_of(name: Any, datatype: str = "double") -> str:
    return ModbusTag.model_validate({"name": "t", "at": "holding 0", "type": datatype, "order": name}).order


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("ABCD", ["ABCD", "abcd", "ABCDEFGH", "big", "Big"]),
        ("BADC", ["BADC", "badc", "BADCFEHG", "byte-swap", "byte_swap"]),
        ("CDAB", ["CDAB", "cdab", "GHEFCDAB", "word-swap", "word_swap"]),
        ("DCBA", ["DCBA", "dcba", "HGFEDCBA", "little", "LITTLE"]),
    ],
)
def test_all_names_of_an_order_mean_it(order: str, names: list[str]) -> None:
    assert {order_of(name) for name in names} == {order}


@pytest.mark.parametrize("name", ["ACBD", "ABCDGHEF", "", "middle", 1, None])
def test_an_order_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(ValidationError):
        order_of(name)
