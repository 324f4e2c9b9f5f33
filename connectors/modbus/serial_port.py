"""A serial port as an asyncio transport, on POSIX terminals."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import termios
from contextlib import suppress
from typing import Final

from connectors.modbus.endpoint import Route
from connectors.model.errors import DeviceUnavailable

_SPEEDS: Final = {
    1200: termios.B1200,
    2400: termios.B2400,
    4800: termios.B4800,
    9600: termios.B9600,
    19_200: termios.B19200,
    38_400: termios.B38400,
    57_600: termios.B57600,
    115_200: termios.B115200,
}
_PARITIES: Final = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}
_ADVICE: Final = {
    errno.ENOENT: "there is no such port: check that the converter is plugged in, and the name (a name under "
    "/dev/serial/by-id stays the same when it is plugged in elsewhere)",
    errno.ENXIO: "there is no such port: check that the converter is plugged in, and the name",
    errno.EACCES: "this program's user may not use the port: add it to the group of the port, on most systems dialout",
    errno.EBUSY: "another program uses the port, or another device of this agent with other settings of the line",
    errno.ENOTTY: "this is no serial port: check the name",
}


class SerialPort(asyncio.Transport):
    """The open port ``fd``, for ``protocol``; closes it when it is closed itself."""

    def __init__(self, fd: int, protocol: asyncio.BufferedProtocol) -> None:
        super().__init__()
        self._fd = fd
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unsent = b""
        self._is_closing = False
        self._loop.add_reader(fd, self._read)
        protocol.connection_made(self)

    def is_closing(self) -> bool:
        """See ``asyncio``."""
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        """See ``asyncio``."""
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ``asyncio``."""
        if self._is_closing:
            return
        had_unsent = bool(self._unsent)
        self._unsent += bytes(data)
        if not had_unsent:
            self._write()

    def close(self) -> None:
        """See ``asyncio``; what was not sent is dropped."""
        self._end(None)

    def abort(self) -> None:
        """See ``asyncio``."""
        self._end(None)

    def _read(self) -> None:
        try:
            count = os.readv(self._fd, [self._protocol.get_buffer(-1)])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._end(exc)
            return
        if count:
            self._protocol.buffer_updated(count)
        else:
            self._end(OSError(errno.EIO, "the port is gone"))

    def _write(self) -> None:
        try:
            sent = os.write(self._fd, self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as exc:
            self._end(exc)
            return
        had_all = not self._unsent[sent:]
        self._unsent = self._unsent[sent:]
        if had_all:
            self._loop.remove_writer(self._fd)
        else:
            self._loop.add_writer(self._fd, self._write)

    def _end(self, cause: OSError | None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._unsent = b""
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        with suppress(OSError):  # the port may be gone
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        os.close(self._fd)
        self._loop.call_soon(self._protocol.connection_lost, cause)


def open_port(route: Route, protocol: asyncio.BufferedProtocol) -> SerialPort:
    """The port of ``route``, set as it says, for ``protocol`` alone.

    Raises ``DeviceUnavailable`` with a sentence that says what to check.
    """
    path = route.endpoint.path
    fd = -1
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        # The lock keeps out those that ask for it, root too; TIOCEXCL all others.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _set_line(fd, route)
        fcntl.ioctl(fd, termios.TIOCEXCL)
    except (OSError, termios.error) as exc:
        if fd >= 0:
            os.close(fd)
        number = exc.args[0] if exc.args else 0
        known = errno.EBUSY if number == errno.EWOULDBLOCK else number
        advice = _ADVICE.get(known, "check the name of the port, and that the converter is plugged in")
        reason = os.strerror(number) if isinstance(number, int) else str(exc)
        raise DeviceUnavailable(f"{path} cannot be opened ({reason}): {advice}") from exc
    return SerialPort(fd, protocol)


def _set_line(fd: int, route: Route) -> None:
    """Raw bytes of eight bits; what stands in the port from before is dropped."""
    speed = _SPEEDS[route.baud]
    control = termios.CS8 | termios.CREAD | termios.CLOCAL | _PARITIES[route.parity]
    if route.stop_bits == 2:
        control |= termios.CSTOPB
    characters = termios.tcgetattr(fd)[6]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    input_flags = termios.INPCK if route.parity != "none" else 0
    attributes: list[int | list[bytes | int]] = [input_flags, 0, control, 0, speed, speed, characters]
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    termios.tcflush(fd, termios.TCIOFLUSH)
