"""The JSON Schema in the repository is the one that the models make, and agrees with the agent on the examples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from connectors.configuration.yaml_nodes import read_yaml
from edge_agent.config.schema import SCHEMA_FILE, schema_text
from edge_agent.drivers import built_in_drivers

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = sorted(path for path in (REPOSITORY / "config/examples").glob("*.yaml") if path.name != "cloud.yaml")
MINIMAL = {"agent": {"group": "a", "name": "b"}, "uplink": {"brokers": ["mqtts://b"]}}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads((REPOSITORY / SCHEMA_FILE).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_lists(entry) for key, entry in value.items()}
    return [with_lists(entry) for entry in value] if isinstance(value, tuple) else value


def device(**more: Any) -> dict[str, Any]:
    oven = {"name": "oven", "driver": "modbus", "endpoint": "tcp://x", "tags": [{"name": "x", "at": "coil 1"}], **more}
    return {**MINIMAL, "devices": [oven]}


def test_the_schema_in_the_repository_is_current() -> None:
    written = (REPOSITORY / SCHEMA_FILE).read_text(encoding="utf-8")
    assert written == schema_text(built_in_drivers()), "run: python -m edge_agent.config.schema"


def test_the_command_writes_it(tmp_path: Path) -> None:
    target = tmp_path / "schema.json"
    subprocess.run([sys.executable, "-m", "edge_agent.config.schema", str(target)], cwd=REPOSITORY, check=True)
    assert target.read_text(encoding="utf-8") == schema_text(built_in_drivers())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path, validator: Draft202012Validator) -> None:
    document = with_lists(read_yaml(path.read_text(encoding="utf-8"), path.name).value)
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    "document",
    [
        MINIMAL,
        device(),
        device(poll="1.5s", timeout="200ms"),
        device(tags=[{"name": "x", "at": "coil 1", "type": "bool"}]),
        device(tags=[{"name": "x", "at": "holding 1", "deadband": "1%", "type": "REAL"}]),
        device(tags=[{"name": "x", "at": "holding 1", "deadband": 0.5, "type": "UInt16"}]),
        device(tag_defaults={"unit": "V"}, tags=[{"name": "x", "at": "coil 1"}, {"template": "t", "with": {"n": 1}}]),
        {**MINIMAL, "devices": [{"name": "x", "template": "t", "with": {"host": "h", "n": 1}, "poll": "1s"}]},
        {**MINIMAL, "defaults": {"all": {"timeout": "1s"}, "modbus": {"tag_defaults": {"order": "CDAB"}}}},
        {**MINIMAL, "templates": {"t": {"parameters": {"n": "integer", "m": {"default": 1}}, "tags": [{"name": "a"}]}}},
        {**MINIMAL, "outbox": {"commit_interval": "1 s"}, "local_api": {"mode": "0600"}, "include": ["a.yaml"]},
        {**MINIMAL, "uplink": {"brokers": ["mqtts://b"], "user": "x", "password": "${env:X}", "mqtt_version": 5}},
    ],
)
def test_what_the_agent_takes_is_valid(document: dict[str, Any], validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"agent": MINIMAL["agent"]},
        {**MINIMAL, "devises": []},
        {**MINIMAL, "uplink": {"brokers": []}},
        {**MINIMAL, "uplink": {"brokers": ["mqtts://b"], "password": "hunter2"}},
        {**MINIMAL, "uplink": {"brokers": ["mqtts://b"], "delivery": "fast"}},
        {**MINIMAL, "outbox": {"commit_interval": "soon"}},
        {**MINIMAL, "local_api": {"mode": 660}},
        {**MINIMAL, "devices": [{"name": "x", "tags": []}]},
        device(driver="mudbus"),
        device(tag_defaults={"samplng": "1s"}),
        device(tags=[{"template": "t", "wiht": {}}]),
        {**MINIMAL, "devices": [{"template": "t"}]},
        {**MINIMAL, "defaults": {"modbsu": {}}},
        {**MINIMAL, "defaults": {"modbus": {"name": "x"}}},
        {**MINIMAL, "templates": {"t": {"parameters": {"n": "integr"}, "tags": []}}},
        device(driver="opcua", unit_id=1),
        device(poll=1),
        device(poll="fast"),
        device(unit_id=256),
        device(tags=[{"name": "x", "at": "coil 1", "samplng": "1s"}]),
        device(tags=[{"name": "x", "at": "coil 1", "order": "ABDC"}]),
        device(tags=[{"name": "x", "at": "coil 1", "type": "flot32"}]),
    ],
)
def test_what_the_agent_refuses_is_marked(document: dict[str, Any], validator: Draft202012Validator) -> None:
    assert not validator.is_valid(document)


def test_quantities_are_shown_as_the_file_writes_them() -> None:
    schema = json.loads(schema_text(built_in_drivers()))
    uplink = schema["$defs"]["UplinkSettings"]["properties"]
    assert uplink["keep_alive"]["default"] == "30s"
    assert uplink["packet_max"]["default"] == "256KiB"
    assert schema["$defs"]["OutboxSettings"]["properties"]["commit_interval"]["default"] == "200ms"
    assert schema["$defs"]["LocalApiSettings"]["properties"]["mode"]["default"] == "0660"


def test_nothing_unused_is_in_it() -> None:
    text = schema_text(built_in_drivers())
    for name in json.loads(text)["$defs"]:
        assert f'"#/$defs/{name}"' in text
