"""What an endpoint says, and which settings go with it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.modbus.endpoint import Endpoint, Route, parse_endpoint
from connectors.modbus.settings import ModbusDevice


@pytest.mark.parametrize(
    ("text", "endpoint", "place"),
    [
        ("tcp://10.0.0.5", Endpoint("tcp", "10.0.0.5", 502), "10.0.0.5:502"),
        ("tcp://Oven-3:1502", Endpoint("tcp", "oven-3", 1502), "oven-3:1502"),
        ("tcp://[fe80::1]:502", Endpoint("tcp", "fe80::1", 502), "fe80::1:502"),
        ("tls://oven", Endpoint("tls", "oven", 802), "oven:802"),
        ("rtu+tcp://moxa:4001", Endpoint("rtu+tcp", "moxa", 4001), "moxa:4001"),
        ("serial:///dev/ttyUSB0", Endpoint("serial", path="/dev/ttyUSB0"), "/dev/ttyUSB0"),
    ],
)
def test_an_endpoint_is_taken_apart(text: str, endpoint: Endpoint, place: str) -> None:
    assert parse_endpoint(text) == endpoint
    assert endpoint.place == place
    assert endpoint.is_rtu == (endpoint.kind in ("rtu+tcp", "serial"))


@pytest.mark.parametrize("text", ["oven", "udp://oven:502", "oven:502"])
def test_what_is_none_is_refused_with_all_forms_that_there_are(text: str) -> None:
    forms = r"tcp://host:502, tls://host:802, rtu\+tcp://host:4001, serial:///dev/ttyUSB0$"
    with pytest.raises(ValueError, match=rf"is not a Modbus endpoint; write it as {forms}"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("tcp://", "tcp://host:502"),
        ("tcp://a b", "tcp://host:502"),
        ("tls://u@oven", "tls://host:802"),
        ("serial://ttyS0", "serial:///dev/ttyUSB0"),
    ],
)
def test_of_a_known_kind_its_own_form_is_shown(text: str, form: str) -> None:
    with pytest.raises(ValueError, match=f"is not a Modbus endpoint; write it as {form}$"):
        parse_endpoint(text)


def test_a_converter_has_no_usual_port() -> None:
    with pytest.raises(ValueError, match=r"names no port, .*; write it as rtu\+tcp://host:4001"):
        parse_endpoint("rtu+tcp://moxa")


def device(endpoint: str, **more: Any) -> ModbusDevice:
    tags = [{"name": "t", "at": "holding 0"}]
    return ModbusDevice.model_validate({"name": "d", "driver": "modbus", "endpoint": endpoint, "tags": tags, **more})


def test_the_settings_of_a_serial_line_are_those_of_the_specification_unless_said_otherwise() -> None:
    serial = Endpoint("serial", path="/dev/ttyS0")
    assert device("serial:///dev/ttyS0").route == Route(serial, 19_200, "even", 1)
    assert device("serial:///dev/ttyS0", serial={"baud": 9600, "parity": "none"}).route == Route(
        serial, 9600, "none", 2
    )
    line = {"parity": "none", "stop_bits": 1, "echo": True}
    assert device("serial:///dev/ttyS0", serial=line).route == Route(serial, 19_200, "none", 1, has_echo=True)


@pytest.mark.parametrize(
    ("endpoint", "more", "message"),
    [
        ("tcp://oven", {"serial": {"baud": 9600}}, "is no serial line"),
        ("rtu+tcp://moxa:4001", {"serial": {"baud": 9600}}, "the converter at moxa:4001 has the speed"),
        ("serial:///dev/ttyS0", {"in_flight": 2}, "carries one request at a time"),
        ("rtu+tcp://moxa:4001", {"in_flight": 2}, "carries one request at a time"),
        ("serial:///dev/ttyS0", {"unit_id": 0}, "units have the ids 1 to 247"),
        ("serial:///dev/ttyS0", {"unit_id": 248}, "units have the ids 1 to 247"),
        ("tcp://oven:70000", {}, "70000"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(endpoint: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        device(endpoint, **more)


def test_a_converter_may_send_the_requests_back() -> None:
    assert device("rtu+tcp://moxa:4001", serial={"echo": True}).route.has_echo


def test_frames_on_a_serial_line_are_three_and_a_half_characters_apart() -> None:
    serial = Endpoint("serial", path="/dev/ttyS0")
    assert Route(serial, 9600).gap_s == pytest.approx(0.00401, abs=1e-5)
    assert Route(serial, 115_200).gap_s == 0.00175
    assert Route(Endpoint("rtu+tcp", "moxa", 4001)).gap_s == 0


@pytest.mark.parametrize(
    ("endpoint", "is_insecure"),
    [("tcp://oven", True), ("rtu+tcp://oven:4001", True), ("tls://oven", False), ("serial:///dev/ttyUSB0", False)],
)
def test_whoever_is_on_the_network_reads_along_unless_there_is_tls_or_a_cable(endpoint: str, is_insecure: bool) -> None:
    assert device(endpoint).is_insecure is is_insecure
