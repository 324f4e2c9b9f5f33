"""One command to a unit: a few requests one after the other, alone on the wire, each sent once.

Pure: what comes next is decided by what was answered, at once, so that no request of ours can come between two of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from typing import Final, TypeAlias

from connectors.modbus.frames import Frame, WriteFrame
from connectors.modbus.request_queue import Priority
from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain

Steps: TypeAlias = Generator[Frame, int, None]
"""Yields the next request and gets ``COMPLETE`` or the exception code of its reply, until the command is done.

It raises ``WriteRefused`` or ``WriteUncertain``, as ``DeviceDriver.write`` does; and ``ValueError`` before the first.
"""


class CommandRequest(Frame):
    """One request of ``job``."""

    __slots__ = ("is_write", "job")

    def __init__(self, job: Command, frame: Frame) -> None:
        super().__init__(frame.request_tail, frame.reply_tail, frame.into, frame.place)
        self.job = job
        self.is_write = isinstance(frame, WriteFrame)

    def answered(self, code: int, arrived_ns: int, arrived_s: float) -> bool:  # noqa: ARG002  as a read of a scan
        """The reply has come. True when the command goes on with a request, which is to be the next one."""
        return self.job.go_on(code)

    def failed(self, reason: str) -> bool:
        """There was no proper answer: true, as that is the end of the command."""
        if self.is_write:
            self.job.end(WriteUncertain(f"{reason} (write of {self.place}); it may have been done or not"))
        else:
            self.job.end(DeviceUnavailable(f"{reason} (read of {self.place}); nothing was written"))
        return True


class Command:
    """``steps`` on their way. ``failure`` says what became of them, where they did not end well."""

    priority: Final = Priority.COMMAND
    has_answers: Final = False
    """Whether a reply has shown that the unit is there: other requests have done that long before."""

    def __init__(self, steps: Steps) -> None:
        """Raises ``ValueError`` when the first step does: then nothing is to be sent."""
        self._steps = steps
        self.unasked: deque[CommandRequest] = deque()
        self.done: asyncio.Future[None] | None = None
        self.failure: DeviceUnavailable | WriteRefused | WriteUncertain | None = None
        self.has_ended = False
        self.unasked.append(CommandRequest(self, next(steps)))

    def go_on(self, code: int) -> bool:
        """Take the answer to the last step; true when there is a further one."""
        try:
            self.unasked.append(CommandRequest(self, self._steps.send(code)))
        except StopIteration:
            self.has_ended = True
        except (WriteRefused, WriteUncertain) as exc:
            self.end(exc)
        return bool(self.unasked)

    def end(self, failure: DeviceUnavailable | WriteRefused | WriteUncertain) -> None:
        """The command has ended like this."""
        self.failure = failure
        self.has_ended = True

    def abandon(self, reason: str) -> None:
        """What waits is not sent any more. Nothing happens when it has ended."""
        if not self.has_ended:
            self.end(DeviceUnavailable(f"{reason}; nothing was written"))
