"""An address is understood as the manual of the unit writes it, and is never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.modbus.plan import PlannedTag, coalesce, planned_tags
from connectors.modbus.settings import ModbusDevice


def planned(*tags: dict[str, Any], **device: Any) -> tuple[PlannedTag, ...]:
    entries = [{"name": f"t{index}", **tag} for index, tag in enumerate(tags)]
    settings = {"name": "d", "driver": "modbus", "endpoint": "tcp://plc", "tags": entries, **device}
    return planned_tags(ModbusDevice.model_validate(settings))


@pytest.mark.parametrize(
    ("at", "place"),
    [
        (40001, "holding 0"),
        ("40001", "holding 0"),
        (49999, "holding 9998"),
        (400001, "holding 0"),
        (465536, "holding 65535"),
        (30001, "input 0"),
        (365536, "input 65535"),
        (10004, "discrete 3"),
        ("00001", "coil 0"),
        ("000017", "coil 16"),
        ("40101.3", "holding 100.3"),
        (" 40101.10 ", "holding 100.10"),
    ],
)
def test_a_classic_address_counts_from_one_and_names_its_table(at: int | str, place: str) -> None:
    (tag,) = planned({"at": at})
    assert tag.place == f"{place} (written as {str(at).strip()})"
    assert (tag.table, tag.address) == (place.split(maxsplit=1)[0], int(place.split()[1].partition(".")[0]))


def test_a_unit_whose_manual_counts_from_one_is_read_where_that_means() -> None:
    first, bit, classic, other = planned(
        {"at": "holding 1"}, {"at": "holding 16.15"}, {"at": 40001}, {"at": "holding 1", "base": 0}, base=1
    )
    assert [tag.address for tag in (first, bit, classic, other)] == [0, 15, 0, 1]
    assert first.place == "holding 0 (written as holding 1)"
    assert other.place == "holding 1"


@pytest.mark.parametrize("entry", [{"base": 1}, {}])
def test_where_counting_begins_with_one_the_last_place_is_65536(entry: dict[str, Any]) -> None:
    device = {} if entry else {"base": 1}
    tags = planned(
        {"at": "holding 65536", **entry},
        {"at": "holding 65535", "type": "uint32", **entry},
        {"at": "input 65412", "type": "string", "length": 250, **entry},
        {"at": "coil 65536", **entry},
        **device,
    )
    assert [tag.address for tag in tags] == [65_535, 65_534, 65_411, 65_535]
    assert tags[0].place == "holding 65535 (written as holding 65536)"


def test_the_last_places_are_read_together_and_nothing_beyond_them() -> None:
    tags = planned(
        *({"at": f"{table} {at}"} for table in ("holding", "coil") for at in (65_530, 65_535, 65_536)), base=1
    )
    blocks = coalesce(tags, 8, 125)
    assert [(block.table, block.address, block.count) for block in blocks] == [
        ("coil", 65_529, 7),
        ("holding", 65_529, 7),
    ]


def test_an_address_as_on_the_wire_is_shown_as_it_is() -> None:
    assert [tag.place for tag in planned({"at": "holding  7"}, {"at": "holding 7.1"})] == ["holding 7", "holding 7.1"]


@pytest.mark.parametrize(
    ("tag", "device", "message"),
    [
        ({"at": 40100.1}, {}, "40100.1 and 40100.10 are the same. Write it in quotes: '40100.1', or '40100.10'"),
        ({"at": 100.5}, {}, "is a number to YAML"),
        ({"at": 100}, {}, "100 does not say which table it is in"),
        ({"at": 40000}, {}, "40000 does not say which table it is in"),
        ({"at": 465537}, {}, "465537 does not say which table it is in"),
        ({"at": 20001}, {}, "20001 does not say which table it is in"),
        ({"at": "00001.1"}, {}, "only the bits 0 to 15 of a register can be named"),
        ({"at": "40001.16"}, {}, "only the bits 0 to 15 of a register can be named"),
        ({"at": True}, {}, "Input should be a valid string"),
        ({"at": 40001, "base": 1}, {}, "40001' counts from 1, as all such numbers do"),
        ({"at": "holding 0", "base": 1}, {}, "'holding 0' is before the first one"),
        ({"at": "holding 0"}, {"base": 1}, "'holding 0' is before the first one"),
        ({"at": "holding 65535", "type": "uint32"}, {}, "reaches beyond the last register, 65535"),
        ({"at": "holding 65536"}, {}, "up to holding 65535, or 'base: 1' if the manual counts from 1"),
        ({"at": "holding 65536", "base": 0}, {"base": 1}, "beyond the last register, 65535"),
        ({"at": "coil 65536"}, {}, "beyond the last bit, 65535"),
        ({"at": "holding 65537"}, {}, "from 0 to 65535, or with 'base: 1' from 1 to 65536"),
        (
            {"at": "holding 65536", "type": "uint32"},
            {"base": 1},
            "last register, 65536. Write an address up to holding 65535",
        ),
        ({"at": "holding 65412", "type": "string", "length": 250}, {}, "up to holding 65411, or 'base: 1'"),
        ({"at": "holding 65413", "type": "string", "length": 250}, {"base": 1}, "beyond the last register, 65536"),
    ],
)
def test_an_address_that_could_mean_two_things_is_refused(
    tag: dict[str, Any], device: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        planned(tag, **device)
