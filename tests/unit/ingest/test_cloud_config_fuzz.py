"""Whatever is in the cloud side's file: it is a configuration, or ``ConfigInvalid`` with sentences and places."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.config import CloudConfig, load_cloud_config
from connectors.model.errors import Problem
from tests.drawn_yaml import ANY_BYTES, SECRET, UNFOLDING, YAML_PIECES, Place, answered, as_file, changed, changes

COMPLETE: dict[str, Any] = {
    "ingest": {
        "brokers": ["mqtts://a:8883", "mqtt://b"],
        "insecure": True,
        "user": "u",
        "password": "${env:LINESIDE_FUZZ_SECRET}",
        "ca_file": "a",
        "host": "lineside",
        "client_id": "c",
        "mqtt_version": "5",
        "keep_alive": "30s",
        "acknowledge": "auto",
        "ack_interval": "250ms",
        "pending_max": "64MiB",
        "share": True,
    },
    "database": {
        "host": "db",
        "port": 5432,
        "name": "lineside",
        "user": "lineside",
        "password": "${env:LINESIDE_FUZZ_SECRET}",
        "tls": "verify-full",
        "ca_file": "d",
        "connections_max": 20,
    },
    "event_log": {
        "partitions": 12,
        "retention": "7d",
        "kafka": {
            "brokers": ["a:9093", "b:9093"],
            "tls": {"authority": "e"},
            "login": {"mechanism": "SCRAM-SHA-512", "user": "l", "password": "${env:LINESIDE_FUZZ_SECRET}"},
            "replication": 3,
            "in_sync": 2,
            "record_size": "4MiB",
            "timeout": "10s",
            "session_timeout": "10s",
        },
    },
    "historian": {"retention": "400d", "publish_samples": False, "reorder_timeout": "2s"},
    "gateway": {"host": "127.0.0.1", "port": 8080},
    "observability": {"log_level": "info", "log_format": "json", "metrics": {"host": "127.0.0.1", "port": 9464}},
}
FUZZED = settings(
    max_examples=4 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_FUZZ_SECRET", SECRET)


def load(folder: Path, data: bytes, *, is_traced: bool = False) -> CloudConfig | list[Problem]:
    return answered(load_cloud_config, folder / "cloud.yaml", data, is_traced=is_traced)


def test_the_complete_file_is_right(folder: Path) -> None:
    assert isinstance(load(folder, as_file(COMPLETE)), CloudConfig)


@FUZZED
@given(made=changes(COMPLETE))
def test_a_file_with_mistakes_is_explained(folder: Path, made: list[tuple[Place, str, Any]]) -> None:
    load(folder, as_file(changed(COMPLETE, made)))


@FUZZED
@given(text=st.lists(YAML_PIECES | st.sampled_from(["ingest:", "database:", "kafka:"]), max_size=40).map("".join))
def test_text_that_looks_like_yaml(folder: Path, text: str) -> None:
    load(folder, text.encode())


@pytest.mark.parametrize("text", ["", "---", "---\n", "# nothing", "~", "--- ~\n..."])
def test_a_file_without_anything_is_called_empty_at_its_beginning(folder: Path, text: str) -> None:
    (problem,) = cast("list[Problem]", load(folder, text.encode()))
    assert (problem.line, problem.column, problem.message) == (1, 1, "the file is empty.")


@FUZZED
@given(data=ANY_BYTES)
def test_any_bytes(folder: Path, data: bytes) -> None:
    load(folder, data)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in UNFOLDING.items()])
def test_a_file_that_unfolds_costs_what_its_size_allows(folder: Path, data: bytes) -> None:
    assert isinstance(load(folder, data, is_traced=True), list)
