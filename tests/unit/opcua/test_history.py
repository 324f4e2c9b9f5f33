"""HistoryRead with a played server: what a real one does only when it is out of something."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.utils import Buffer
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_to_binary

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.history import ANSWER_S_MAX, HistoryFill
from connectors.opcua.history_response import read_history_response
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.device import Missing, Unfilled
from tests.virtual_time import START_NS, VirtualClock, virtual_time

S = 1_000_000_000
TICKS_TO_1970 = 116_444_736_000_000_000


def answer(*results: ua.HistoryReadResult) -> Buffer:
    response = ua.HistoryReadResponse()
    response.Results = list(results)
    return Buffer(struct_to_binary(response))


def values(*times_ns: int, continuation: bytes | None = None, status: int = 0) -> ua.HistoryReadResult:
    """A result with values that are their places, at these times."""
    data = ua.HistoryData()
    data.DataValues = [
        ua.DataValue(ua.Variant(float(at), ua.VariantType.Double), SourceTimestamp=ua.win_epoch_to_datetime(ticks))
        for at, ticks in enumerate(time_ns // 100 + TICKS_TO_1970 for time_ns in times_ns)
    ]
    result = ua.HistoryReadResult(StatusCode=ua.StatusCode(ua.UInt32(status)), ContinuationPoint=continuation)
    result.HistoryData = data
    return result


class PlayedHistorian:
    """Answers HistoryRead with what a test tells it, one answer a request; the question for what was before, always."""

    def __init__(self, *answers: list[ua.HistoryReadResult] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[list[tuple[int, bytes | None]]] = []

    async def send_request(self, request: Any, timeout: float) -> Buffer:
        assert timeout == ANSWER_S_MAX
        details, nodes = request.Parameters.HistoryReadDetails, request.Parameters.NodesToRead
        if details.NumValuesPerNode == 1:
            return answer(*[values(START_NS - 60 * S) for _ in nodes])
        self.asked.append([(node.NodeId.Identifier, node.ContinuationPoint) for node in nodes])
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return answer(*said)


class Played:
    """The acquisition."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.unfilled: list[Unfilled] = []

    async def restore(self, batch: SampleBatch) -> None:
        self.rows += [(tag, time_ns - START_NS) for tag, time_ns, *_ in batch.rows()]

    async def restored(self, unfilled: list[Unfilled]) -> None:
        self.unfilled += unfilled


async def fill(historian: PlayedHistorian, tags: int) -> Played:
    """Fill one second before ``START_NS + 1 s``, of so many tags."""
    entries = [{"name": f"t{index}", "at": f"i={index}"} for index in range(tags)]
    entry = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://p", "insecure": True, "tags": entries}
    device = OpcUaDevice.model_validate(entry | {"history": {"use": "always", "wait": "0ms"}})

    async def read(_params: Any) -> list[ua.DataValue]:
        now = ua.win_epoch_to_datetime((START_NS + S) // 100 + TICKS_TO_1970)
        return [ua.DataValue(), ua.DataValue(ua.Variant(now, ua.VariantType.DateTime))]

    client = SimpleNamespace(uaclient=SimpleNamespace(protocol=historian, read=read))
    played = Played()
    filling = HistoryFill(cast(Client, client), device, VirtualClock(), cast(Any, played), OperationLimits())
    bound = [
        BoundTag(
            index,
            device.tags[index],
            ua.NodeId(index),
            DataType.DOUBLE,
            TagType(index, TagName(f"t{index}"), DataType.DOUBLE),
        )
        for index in range(tags)
    ]
    async with asyncio.timeout(60.0):
        await filling.run(Missing(START_NS, np.zeros(tags, np.int64)), range(tags), bound)
    return played


@virtual_time
async def test_a_node_goes_on_from_where_its_answer_ended() -> None:
    historian = PlayedHistorian(
        [values(START_NS + 1000, continuation=b"c0"), values(START_NS + 2000)],
        [values(START_NS + 3000, continuation=b"c1")],
        [values(START_NS + 4000)],
    )
    played = await fill(historian, 2)
    assert sorted(played.rows) == [(0, 1000), (0, 3000), (0, 4000), (1, 2000)]
    assert historian.asked == [[(0, None), (1, None)], [(0, b"c0")], [(0, b"c1")]]
    assert played.unfilled == []


@virtual_time
async def test_a_server_without_continuation_points_is_asked_for_fewer_nodes() -> None:
    full = values(status=StatusCodes.BadNoContinuationPoints)
    historian = PlayedHistorian(
        [values(START_NS + 1000), full, full, full], [values(START_NS + 2000), values(START_NS + 3000)], [values()]
    )
    played = await fill(historian, 4)
    assert [[node for node, _ in nodes] for nodes in historian.asked] == [[0, 1, 2, 3], [1, 2], [3]]
    assert sorted(played.rows) == [(0, 1000), (1, 2000), (2, 3000)]
    assert played.unfilled == []


@virtual_time
async def test_what_ends_half_way_is_missing_from_there_on() -> None:
    lost = values(status=StatusCodes.BadContinuationPointInvalid)
    played = await fill(PlayedHistorian([values(START_NS + 1000, START_NS + 2000, continuation=b"c")], [lost]), 1)
    assert played.rows == [(0, 1000), (0, 2000)]
    ((tags, first_ns, last_ns),) = [(part.tags, part.first_ns, part.last_ns) for part in played.unfilled]
    assert (tags, first_ns, last_ns) == ((0,), START_NS + 2000, START_NS + S)


@virtual_time
async def test_a_historian_that_does_not_answer_leaves_the_rest_missing_and_the_connection_alone() -> None:
    played = await fill(PlayedHistorian([values(START_NS + 1000, continuation=b"c")], TimeoutError()), 1)
    assert played.rows == [(0, 1000)]
    assert [(part.tags, part.reason) for part in played.unfilled] == [
        ((0,), "the server's history does not answer within 30 s")
    ]


def test_a_response_that_breaks_off_is_a_known_error() -> None:
    whole = struct_to_binary(_response(values(START_NS, START_NS + 1000, continuation=b"c0")))
    (one,) = read_history_response(Buffer(whole))
    assert (one.count, one.continuation, one.status) == (2, b"c0", 0)
    for cut in range(24, len(whole) - 4):  # the count of the diagnostics is not looked at
        with pytest.raises(DECODING_ERRORS):
            read_history_response(Buffer(whole[:cut]))


def _response(result: ua.HistoryReadResult) -> ua.HistoryReadResponse:
    response = ua.HistoryReadResponse()
    response.Results = [result]
    return response
