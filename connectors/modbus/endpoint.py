"""Where a Modbus unit is reached, and over what: the ``endpoint`` of a device file, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KINDS: Final = ("tcp", "tls", "rtu+tcp", "serial")
PORTS_DEFAULT: Final = {"tcp": 502, "tls": 802}
"""As registered for Modbus and for Modbus/TCP Security."""
_FORMS: Final = {
    "tcp": "tcp://host:502",
    "tls": "tls://host:802",
    "rtu+tcp": "rtu+tcp://host:4001",
    "serial": "serial:///dev/ttyUSB0",
}
_NETWORK: Final = re.compile(r"(tcp|tls|rtu\+tcp)://([^/\s:@\[\]]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::([0-9]+))?/?")
_BITS_PER_CHARACTER: Final = 11
_SERIAL: Final = re.compile(r"serial://(/[^\s?#]+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``kind`` is one of ``KINDS``; a serial port has a ``path``, anything else a ``host`` and a ``port``."""

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def place(self) -> str:
        """Host and port, or the serial port, for messages."""
        return self.path or f"{self.host}:{self.port}"

    @property
    def is_rtu(self) -> bool:
        """Whether frames carry no transaction, so that one request at a time is under way."""
        return self.kind in ("rtu+tcp", "serial")


@dataclass(frozen=True, slots=True)
class Route:
    """All that a connection needs to know: devices whose routes are equal are units of one bus.

    ``baud``, ``parity`` and ``stop_bits`` are those of a serial port; ``has_echo``: the converter sends every request
    back before the reply. ``tls`` are the files of the authorities, of our certificate and of its key.
    """

    endpoint: Endpoint
    baud: int = 19_200
    parity: str = "even"
    stop_bits: int = 1
    has_echo: bool = False
    tls: tuple[Path | None, Path | None, Path | None] = (None, None, None)

    @property
    def gap_s(self) -> float:
        """Between two frames on a serial port (MODBUS over Serial Line V1.02, section 2.5.1.1)."""
        if self.endpoint.kind != "serial":
            return 0.0
        return 0.00175 if self.baud > 19_200 else 3.5 * _BITS_PER_CHARACTER / self.baud


def parse_endpoint(text: str) -> Endpoint:
    """``text`` taken apart. Raises ``ValueError`` with a sentence."""
    serial = _SERIAL.fullmatch(text)
    if serial is not None:
        return Endpoint("serial", path=serial[1])
    found = _NETWORK.fullmatch(text)
    if found is None:
        forms = _FORMS.get(text.partition("://")[0], ", ".join(_FORMS.values()))
        raise ValueError(f"{text!r} is not a Modbus endpoint; write it as {forms}")
    kind, host, port = found[1], found[2], found[3]
    if port is None and kind not in PORTS_DEFAULT:
        raise ValueError(f"{text!r} names no port, and converters have no usual one; write it as {kind}://host:4001")
    return Endpoint(kind, host.strip("[]").lower(), int(port) if port else PORTS_DEFAULT[kind])
