"""Every method of ``lineside.v1``, and the permission that it needs: the table by which each is opened or closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloud_ingest.access.permissions import Permission

PACKAGE: Final = "lineside.v1"


@dataclass(frozen=True, slots=True)
class RpcMethod:
    """A method, as the ``.proto`` files in ``connectors/lineside_api/v1`` describe it. ``is_stream``: of answers."""

    service: str
    name: str
    permission: Permission
    is_stream: bool = False

    @property
    def path(self) -> str:
        """As it is asked for, and stands in the log: ``/lineside.v1.DataService/ListTags``."""
        return f"/{PACKAGE}.{self.service}/{self.name}"


DATA: Final = "DataService"
LINES: Final = "LineService"
COMMANDS: Final = "CommandService"

LIST_TAGS: Final = RpcMethod(DATA, "ListTags", Permission.DATA_READ)
READ_TAGS: Final = RpcMethod(DATA, "ReadTags", Permission.DATA_READ)
READ_SAMPLES: Final = RpcMethod(DATA, "ReadSamples", Permission.DATA_READ)
READ_INTERVALS: Final = RpcMethod(DATA, "ReadIntervals", Permission.DATA_READ)
READ_SAMPLE_RANGE: Final = RpcMethod(DATA, "ReadSampleRange", Permission.DATA_READ, is_stream=True)
STREAM_SAMPLES: Final = RpcMethod(DATA, "StreamSamples", Permission.DATA_READ, is_stream=True)
GET_LINE: Final = RpcMethod(LINES, "GetLine", Permission.LINES_READ)
LIST_LINES: Final = RpcMethod(LINES, "ListLines", Permission.LINES_READ)
STREAM_LINES: Final = RpcMethod(LINES, "StreamLines", Permission.LINES_READ, is_stream=True)
SEND_COMMAND: Final = RpcMethod(COMMANDS, "SendCommand", Permission.COMMANDS_SEND)
GET_COMMAND: Final = RpcMethod(COMMANDS, "GetCommand", Permission.COMMANDS_READ)
WATCH_COMMAND: Final = RpcMethod(COMMANDS, "WatchCommand", Permission.COMMANDS_READ, is_stream=True)
CANCEL_COMMAND: Final = RpcMethod(COMMANDS, "CancelCommand", Permission.COMMANDS_SEND)

METHODS: Final = (
    LIST_TAGS,
    READ_TAGS,
    READ_SAMPLES,
    READ_INTERVALS,
    READ_SAMPLE_RANGE,
    STREAM_SAMPLES,
    GET_LINE,
    LIST_LINES,
    STREAM_LINES,
    SEND_COMMAND,
    GET_COMMAND,
    WATCH_COMMAND,
    CANCEL_COMMAND,
)
