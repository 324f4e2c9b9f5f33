"""What is asked of the system for a serial port: a pseudo-terminal, which keeps no parity, cannot show that."""

from __future__ import annotations

import asyncio
import os
import pty
import termios
from typing import Any

import pytest

from connectors.modbus import serial_port
from connectors.modbus.endpoint import Endpoint, Route

_OF_PARITY = termios.PARENB | termios.PARODD


@pytest.mark.parametrize(
    ("parity", "stop_bits", "baud", "flags"),
    [
        ("even", 1, 19_200, termios.PARENB),
        ("odd", 1, 9600, _OF_PARITY),
        ("none", 2, 115_200, termios.CSTOPB),
        ("even", 2, 1200, termios.PARENB | termios.CSTOPB),
    ],
)
async def test_speed_parity_and_stop_bits_are_asked_for_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch, parity: str, stop_bits: int, baud: int, flags: int
) -> None:
    asked: list[list[Any]] = []
    monkeypatch.setattr(serial_port.termios, "tcsetattr", lambda fd, when, attributes: asked.append(attributes))
    main, port = pty.openpty()
    try:
        route = Route(Endpoint("serial", path=os.ttyname(port)), baud, parity, stop_bits)
        opened = serial_port.open_port(route, asyncio.BufferedProtocol())
        opened.close()
        await asyncio.sleep(0)
    finally:
        os.close(main)
        os.close(port)
    ((inputs, outputs, control, local, *speeds, _characters),) = asked
    assert control & (_OF_PARITY | termios.CSTOPB) == flags
    assert control & termios.CSIZE == termios.CS8
    assert bool(inputs & termios.INPCK) is (parity != "none"), "a byte with a wrong parity is to be seen as one"
    assert (outputs, local) == (0, 0), "bytes go as they are"
    assert speeds == [getattr(termios, f"B{baud}")] * 2
