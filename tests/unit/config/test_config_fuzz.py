"""Whatever is in a file: it is a configuration, or ``ConfigInvalid`` with sentences and places; never anything else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.configuration import yaml_nodes
from connectors.configuration.yaml_nodes import decode_yaml, read_yaml
from connectors.model.errors import ConfigInvalid, Problem
from edge_agent.config.load import load_config
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers
from tests.drawn_yaml import (
    ANY_BYTES,
    SECRET,
    UNFOLDING,
    YAML_PIECES,
    Place,
    answered,
    as_file,
    changed,
    changes,
    paths_of,
)

DRIVERS = built_in_drivers()
ENVIRON = {"SECRET": SECRET}
JARGON = re.compile(
    r"Input should|pydantic|type=|value_error|input_type|Value error|errors\.py|https?://errors|NoneType|<class|"
    r"Traceback|dict\b|tuple|\bstr\b|\bNone\b|\bTrue\b|\bFalse\b|block mapping|flow|scalar|token|stream"
)
COMPLETE: dict[str, Any] = {
    "agent": {"group": "g", "name": "n", "description": "d", "data_dir": "data", "commissioning": False},
    "uplink": {
        "brokers": ["mqtts://a:8883", "mqtt://b"],
        "insecure": True,
        "delivery": "acknowledged",
        "host": "h",
        "primary_host": False,
        "client_id": "c",
        "user": "u",
        "password": "${env:SECRET}",
        "ca_file": "a",
        "cert_file": "b",
        "key_file": "c",
        "keep_alive": "30s",
        "mqtt_version": "5",
        "window": 10,
        "resend_after": "10s",
        "packet_max": "64KiB",
    },
    "outbox": {"path": "o.db", "commit_interval": "200ms", "durability": "full"},
    "local_api": {"socket": "s", "mode": "0660"},
    "observability": {"log_level": "info", "log_format": "json", "metrics": {"host": "::1", "port": 1}},
    "include": [],
    "templates": {
        "meter": {
            "description": "d",
            "parameters": {
                "unit": {"type": "integer", "default": 1, "min": 1, "max": 9},
                "hall": {"choices": ["A", "B"]},
            },
            "device": {
                "driver": "modbus",
                "endpoint": "tcp://$(hall).example",
                "unit_id": "$(unit)",
                "tag_defaults": {"order": "CDAB"},
                "tags": [{"template": "phase", "with": {"n": 1}}, {"name": "a", "at": "input $(unit + 1)"}],
            },
        },
        "phase": {"parameters": {"n": "integer"}, "tags": [{"name": "l$(n)", "at": "input $(10 * n)"}]},
    },
    "defaults": {"all": {"timeout": "1s"}, "modbus": {"poll": "1s", "tag_defaults": {"unit": "V", "deadband": 1}}},
    "devices": [
        {"name": "meter", "template": "meter", "with": {"unit": 2, "hall": "A"}, "tags": [{"name": "a", "poll": "1s"}]},
        {
            "name": "press",
            "driver": "opcua",
            "endpoint": "opc.tcp://p",
            "insecure": True,
            "security": {"user": "u", "password": "${env:SECRET}"},
            "sampling": "1s",
            "queue_size": 5,
            "tags": [
                {"name": "a", "at": "ns=1;i=1", "sampling": "1s", "deadband": "1%", "queue_size": 2},
                {"name": "b", "at": "nsu=x;s=y", "type": "double", "scale": 2, "offset": 0.5, "max_interval": "1m"},
            ],
        },
        {
            "name": "oven",
            "driver": "modbus",
            "endpoint": "tcp://o:502",
            "unit_id": 3,
            "poll": "1s",
            "max_hole": 4,
            "tags": [
                {"name": "a", "at": "holding 1", "type": "float32", "order": "CDAB", "unit": "kN", "poll": "5s"},
                {"name": "b", "at": "coil 2", "report": "always", "description": "x", "min_interval": "0s"},
            ],
        },
    ],
}
# JSON as YAML reads it: without what is no JSON (infinity), and without the line separators that YAML 1.1 folds.
JSON_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | JSON_TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


PATHS = [path for path in paths_of(COMPLETE) if path]


def load(folder: Path, data: bytes, *, is_traced: bool = False) -> AgentConfig | list[Problem]:
    return answered(
        lambda path: load_config(path, DRIVERS, environ=ENVIRON), folder / "agent.yaml", data, is_traced=is_traced
    )


def test_the_complete_file_is_right(folder: Path) -> None:
    config = load(folder, json.dumps(COMPLETE).encode())
    assert isinstance(config, AgentConfig)
    assert [len(device.tags) for device in config.devices] == [2, 2, 2]


@settings(
    max_examples=5 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=changes(COMPLETE))
def test_a_file_with_mistakes_is_explained(folder: Path, made: list[tuple[Place, str, Any]]) -> None:
    load(folder, as_file(changed(COMPLETE, made)))


@settings(
    max_examples=4 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(PATHS), value=st.none() | st.booleans() | st.integers() | st.just([]) | st.just({}))
def test_no_word_of_the_libraries_is_in_a_message(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    found = load(folder, json.dumps(changed(COMPLETE, [(path, "replace", value)])).encode())
    for problem in found if isinstance(found, list) else ():
        assert JARGON.search(str(problem).partition("agent.yaml:")[2]) is None


@settings(
    max_examples=8 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.lists(YAML_PIECES, max_size=40).map("".join))
def test_text_that_looks_like_yaml(folder: Path, text: str) -> None:
    load(folder, text.encode())


@settings(
    max_examples=3 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=ANY_BYTES)
def test_any_bytes(folder: Path, data: bytes) -> None:
    load(folder, data)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in UNFOLDING.items()])
def test_a_file_that_unfolds_costs_what_its_size_allows(folder: Path, data: bytes) -> None:
    assert isinstance(load(folder, data, is_traced=True), list)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(value=JSON_VALUES)
def test_json_is_read_as_what_it_says(value: Any) -> None:
    assert repr(read_yaml(json.dumps(value, ensure_ascii=False), "f").value) == repr(with_tuples(value))


def with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_tuples(entry) for key, entry in value.items()}
    return tuple(with_tuples(entry) for entry in value) if isinstance(value, list) else value


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(text=st.lists(YAML_PIECES, max_size=25).map("".join))
def test_the_parser_in_python_says_what_libyaml_says(text: str) -> None:
    """Where both can read a text, they read the same; PyYAML's own is stricter about tabs and directives."""
    read = []
    with pytest.MonkeyPatch.context() as patch:
        for parser in (yaml.CBaseLoader, yaml.BaseLoader):
            patch.setattr(yaml_nodes, "_PARSER", parser)
            try:
                document = read_yaml(decode_yaml(text.encode(), "f"), "f")
                read.append(repr(document.value))
            except ConfigInvalid:
                read.append(None)
    assert None in read or read[0] == read[1]
