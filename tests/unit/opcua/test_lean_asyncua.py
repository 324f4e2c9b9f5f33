"""What asyncua is loaded without is there all the same when somebody asks for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from asyncua.ua import object_ids

from connectors.opcua.lean_asyncua import Names


@pytest.fixture(scope="module")
def ids() -> Any:
    spec = spec_from_file_location("ids_as_they_are", object_ids.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "ask",
    [
        lambda names: names[85],
        lambda names: 85 in names,
        lambda names: 99_999_999 in names,
        lambda names: names.get(85),
        lambda names: names.get(99_999_999, "none"),
        lambda names: 85 in names.keys(),  # noqa: SIM118  asyncua asks so
        len,
        sorted,
        lambda names: sorted(names.items()),
        lambda names: sorted(names.values()),
    ],
)
def test_names_of_the_standard_s_nodes_are_those_of_asyncua_whatever_is_asked_first(
    ids: Any, ask: Callable[[dict[int, str]], Any]
) -> None:
    assert ask(Names(ids.ObjectIds)) == ask(ids.ObjectIdNames)


def test_a_number_that_is_no_node_of_the_standard_has_no_name(ids: Any) -> None:
    with pytest.raises(KeyError, match="99999999"):
        Names(ids.ObjectIds)[99_999_999]


def test_an_agent_has_each_name_once_until_somebody_asks_for_the_name_of_a_number() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import connectors.opcua\n"
            "from asyncua import ua\n"
            "print(type(ua.ObjectIdNames).__name__, dict.__len__(ua.ObjectIdNames))\n"
            "print(ua.ObjectIdNames[ua.ObjectIds.HasProperty])",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == ["Names", "0", "HasProperty"]
