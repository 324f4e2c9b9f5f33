"""A record of the reports topic is read, or refused with a sentence: never anything else, whatever an agent sends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.commands.incoming import read_told
from cloud_ingest.event_log.topics import raw_record
from connectors.commands.reports import CommandReport, HeldLock, Hello
from connectors.commands.states import CommandState
from connectors.model.errors import PayloadInvalid
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.delivery import COMMAND_REPORT, HELLO
from tests.played_agent import PlayedAgent, Wire

ID = "01JDV3W3Z8Q6C0V2B7N4M5K9XR"


def record(wire: Wire) -> LogRecord:
    made = raw_record("plant/line-1", wire.topic, wire.payload, 1000)
    return LogRecord(0, made.key, made.value, made.time_ms, made.headers)


def report(**more: Any) -> CommandReport:
    given = {"id": ID, "journal": "a" * 32, "number": 1, "step": 1, "state": CommandState.RECEIVED, "time_ms": 5,
             "actor": "line-1"}  # fmt: skip
    return CommandReport.model_validate({**given, **more})


def test_a_report_is_read_with_its_place_in_the_outbox() -> None:
    agent = PlayedAgent()
    text = report(detail="DETAIL").to_json().decode().replace("DETAIL", r"half\ud83d and \u0000")
    told = read_told(record(agent.record({COMMAND_REPORT: text})))
    assert (told.agent, told.epoch, told.batch, told.received_ms) == (agent.name, agent.epoch, 1, 1000)
    assert told.report == report(detail="half\ufffd and \ufffd")  # what the database takes


@given(st.one_of(st.text(max_size=200), st.binary(max_size=50)), st.sampled_from([COMMAND_REPORT, HELLO]))
def test_what_is_no_report_is_refused_with_a_sentence(value: str | bytes, name: str) -> None:
    written = value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if isinstance(value, str) else value
    with pytest.raises(PayloadInvalid):
        read_told(record(PlayedAgent().record({name: written})))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused(payload: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        read_told(record(Wire("spBv1.0/plant/NDATA/line-1", payload)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_is_none_in_json_is_refused_wherever_it_stands(number: str) -> None:
    text = report(action={"value": 7}).to_json().decode().replace("7}", f"[{number}]}}")
    with pytest.raises(PayloadInvalid, match="it is no JSON"):
        read_told(record(PlayedAgent().record({COMMAND_REPORT: text})))


def test_a_time_after_the_year_9999_is_refused_in_reports_and_locks() -> None:
    latest = 253_402_300_799_999
    assert datetime.fromtimestamp(latest / 1000, UTC).year == 9999
    lock = HeldLock(line="press", reason="", actor="carla", since_ms=latest)
    hello = Hello(nonce="0" * 32, journal="a" * 32, number=0, start="", held=(lock,))
    for name, said in ((COMMAND_REPORT, report(time_ms=latest)), (HELLO, hello)):
        text = said.to_json().decode()
        read_told(record(PlayedAgent().record({name: text})))
        with pytest.raises(PayloadInvalid, match="less than 253402300800000"):
            read_told(record(PlayedAgent().record({name: text.replace(str(latest), str(latest + 1))})))
