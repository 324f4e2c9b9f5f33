"""Browse paths: what a device file may write, and what it is told of what it may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.opcua.browse_paths import BrowseName, parse_path, path_of


@pytest.mark.parametrize(
    ("at", "names"),
    [
        ("/Objects/Server", [(0, "Objects"), (0, "Server")]),
        ("/Objects/2:Press/Ram/Force", [(0, "Objects"), (2, "Press"), (2, "Ram"), (2, "Force")]),
        ("/Objects/2:Press/0:EURange", [(0, "Objects"), (2, "Press"), (0, "EURange")]),
        (
            "/0:Objects/nsu=http://acme.example/a;Press/Ram",
            [(0, "Objects"), *[("http://acme.example/a", n) for n in ("Press", "Ram")]],
        ),
        ("/2:In&/Out/A&&B/5&:00", [(2, "In/Out"), (2, "A&B"), (2, "5:00")]),
        ("/2:DB1.Temperature[3]", [(2, "DB1.Temperature[3]")]),
    ],
)
def test_a_browse_path_is_read_name_by_name(at: str, names: list[tuple[int | str, str]]) -> None:
    assert parse_path(at) == tuple(BrowseName(namespace, name) for namespace, name in names)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("/", "empty name"),
        ("/Objects//Force", "empty name"),
        ("/Objects/", "empty name"),
        ("/Objects/Force&", "'&' at its end"),
        ("/Objects/70000:Force", "from 0 to 65535"),
        ("/Objects/nsu=http://acme.example", "';' and a name"),
        ("/Objects/" + 513 * "x", "513 characters, and OPC UA allows 512"),
        (101 * "/x", "101 names"),
    ],
)
def test_what_is_no_browse_path_is_refused_with_what_to_write(at: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_path(at)


NAMES = st.builds(
    BrowseName,
    st.integers(0, 65_535) | st.sampled_from(["http://acme.example/press", "urn:oven"]),
    st.text("ab/&:=5nsu;", min_size=1, max_size=8),
)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_a_path_that_is_written_is_read_as_the_same_names(names: list[BrowseName]) -> None:
    assert parse_path(path_of(names)) == tuple(names)
