"""Samples, times, commands and refusals as messages of the gRPC API, and the table of its methods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.gateway.rpc.command_messages import ACTIONS, _action_message, request_of
from cloud_ingest.gateway.rpc.instants import ns_of, time_of
from cloud_ingest.gateway.rpc.method_table import METHODS, PACKAGE
from cloud_ingest.gateway.rpc.peers import address_of_call
from cloud_ingest.gateway.rpc.refusals import STATUS_OF, refusal_of
from cloud_ingest.gateway.rpc.streams import StreamPlaces
from cloud_ingest.gateway.rpc.values import columns_of, plain_value, value_message
from cloud_ingest.lines.events import LineState
from connectors.commands.states import CommandState
from connectors.lineside_api.v1 import commands_pb2, data_pb2, lines_pb2
from connectors.lineside_api.v1.commands_pb2 import SendCommandRequest
from connectors.model.errors import DatabaseUnavailable

KINDS = ("double", "int", "bool", "text", "bytes")
VALUES = {
    "double": st.floats(allow_nan=False),
    "int": st.integers(-(1 << 63), (1 << 63) - 1),
    "bool": st.booleans(),
    "text": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
}


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    kinds = draw(st.lists(st.sampled_from((*KINDS, "none")), max_size=40))
    made = []
    for number, kind in enumerate(kinds):
        row: dict[str, Any] = {f"value_{one}": None for one in KINDS}
        if kind != "none":
            row[f"value_{kind}"] = draw(VALUES[kind])
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
        made.append({**row, "time": time, "quality": draw(st.sampled_from((0, 0x8000)))})
    return made


@given(rows(), st.sampled_from([None, 1, 50]))
def test_columns_say_all_that_the_rows_say_and_nothing_else(found: list[dict[str, Any]], bytes_max: int | None) -> None:
    told = []
    for columns, count in columns_of(found, bytes_max):
        values = [list(getattr(columns, f"{kind}_values")) for kind in KINDS]
        (values_,) = [one for one in values if one] or [[]]
        assert len(columns.time_ns) == count == len(values_)
        assert len(columns.quality) in (0, count)
        assert len(columns.missing) in (0, count)
        missing = list(columns.missing) or [False] * count
        quality = list(columns.quality) or [0] * count
        known = [None if absent else value for value, absent in zip(values_, missing, strict=True)]
        told += list(zip(columns.time_ns, known, quality, strict=True))
    assert told == [
        (ns_of(row["time"]), next((row[f"value_{kind}"] for kind in KINDS if row[f"value_{kind}"] is not None), None),
         row["quality"])
        for row in found
    ]  # fmt: skip


@given(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)))
def test_a_time_comes_back(time: datetime) -> None:
    assert time_of(ns_of(time.replace(tzinfo=UTC))) == time.replace(tzinfo=UTC)


@given(st.integers(-(10**18), 10**18), st.datetimes(datetime(1940, 1, 1), datetime(2000, 1, 1)))
def test_a_time_is_before_a_nanosecond_or_not_in_the_database_as_it_is_here(ns: int, stored: datetime) -> None:
    time = stored.replace(tzinfo=UTC)
    assert (time < time_of(ns)) == (ns_of(time) < ns)


def test_times_of_all_int64_can_be_asked_for() -> None:
    for ns in (-(1 << 63), (1 << 63) - 1):
        assert abs(ns_of(time_of(ns)) - ns) <= 1000


@pytest.mark.parametrize("value", [True, 0, -(1 << 63), (1 << 64) - 1, 1.5, "x", b"x"])
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    message = value_message(value)
    assert message is not None
    assert (plain_value(message), type(plain_value(message))) == (value, type(value))
    assert value_message(None) is None
    assert plain_value(data_pb2.Value()) is None


def test_the_table_has_every_method_of_the_proto_files() -> None:
    described = {
        (service.name, method.name): method
        for module in (data_pb2, lines_pb2, commands_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert {(one.service, one.name) for one in METHODS} == set(described)
    assert all(one.is_stream == described[one.service, one.name].server_streaming for one in METHODS)
    assert {module.DESCRIPTOR.package for module in (data_pb2, lines_pb2, commands_pb2)} == {PACKAGE}


def test_every_state_has_its_number() -> None:
    assert {name.removeprefix("LINE_STATE_") for name in lines_pb2.LineState.DESCRIPTOR.values_by_name} == {
        "UNSPECIFIED",
        *(state.name for state in LineState),
    }
    assert {name.removeprefix("COMMAND_STATE_") for name in commands_pb2.CommandState.DESCRIPTOR.values_by_name} == {
        "UNSPECIFIED",
        *(state.name for state in CommandState),
    }


SENT = [example["action"] for example in CommandRequest.model_config["json_schema_extra"]["examples"]]  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    "document",
    [*SENT, {"do": "run", "device": "press", "command": "home", "arguments": {"slow": True, "mm": 1.5, "n": 1 << 63}},
     {"do": "restart"}, {"do": "install_release", "version": "1.2.0", "sha256": "0" * 64, "health_s": 60}],
)  # fmt: skip
def test_whatever_can_be_asked_for_by_rest_can_be_asked_for_here(document: dict[str, Any]) -> None:
    message = SendCommandRequest(agent="plant-7/line-3", action=_action_message(document))
    assert request_of(message) == CommandRequest.model_validate({"agent": "plant-7/line-3", "action": document})
    assert document["do"] in ACTIONS


def test_what_this_version_has_no_field_for_is_left_out() -> None:
    assert _action_message({"do": "dance", "device": "press"}).WhichOneof("do") is None
    assert _action_message({"do": "restart", "softly": True}).WhichOneof("do") == "restart"


def test_every_reason_has_a_status_and_no_client_asks_again_what_stays_refused() -> None:
    assert set(STATUS_OF) == set(Why)
    assert "UNAVAILABLE" not in {status.name for status in STATUS_OF.values()}
    assert refusal_of(DatabaseUnavailable("away")).status.name == "UNAVAILABLE"


def test_of_several_errors_at_once_a_defect_is_not_hidden() -> None:
    expected = RequestRefused(Why.INVALID, "x", "y")
    assert refusal_of(ExceptionGroup("both", [expected, KeyError("z")])).code == "defect"
    assert refusal_of(ExceptionGroup("one", [expected])).code == "x"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("ipv4:10.0.0.5:4711", "", "10.0.0.5"),
        ("ipv4:10.0.0.5:4711", "8.8.8.8", "10.0.0.5"),
        ("ipv4:127.0.0.1:4711", "6.6.6.6, 8.8.8.8", "8.8.8.8"),
        ("ipv4:127.0.0.1:4711", "8.8.8.8, 127.0.0.1", "8.8.8.8"),
        ("ipv4:127.0.0.1:4711", ",", "127.0.0.1"),
        ("ipv6:%5B::1%5D:4711", "", "::1"),
        ("unix:/run/x", "", ""),
        ("", "", ""),
    ],
)
def test_where_a_call_comes_from_only_a_known_proxy_may_say(peer: str, forwarded: str, address: str) -> None:
    assert address_of_call(peer, forwarded, {"127.0.0.1", "::1"} if "127" in peer else {"127.0.0.1"}) == address


def test_places_are_given_back() -> None:
    places = StreamPlaces(3, 2)
    with places.taken_by("a"), places.taken_by("a"):
        with pytest.raises(RequestRefused, match="2 streams"), places.taken_by("a"):
            pass
        with places.taken_by("b"), pytest.raises(RequestRefused, match="3 streams"), places.taken_by("c"):
            pass
    with places.taken_by("a"), places.taken_by("a"):
        pass
