"""HistoryRead with a played server: what a real one does only when it is out of something."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.utils import Buffer, ServiceError
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_to_binary

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.history import ANSWER_S_MAX, FAILURES_MAX, HistoryFill
from connectors.opcua.history_response import read_history_response
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.wire_types import one_to_ns
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
        self.begun: list[int] = []
        self.values_max: list[int] = []

    async def send_request(self, request: Any, timeout: float) -> Buffer:
        assert timeout == ANSWER_S_MAX
        details, nodes = request.Parameters.HistoryReadDetails, request.Parameters.NodesToRead
        if details.NumValuesPerNode == 1:
            return answer(*[values(START_NS - 60 * S) for _ in nodes])
        self.begun.append(one_to_ns(details.StartTime) - START_NS)
        self.values_max.append(int(details.NumValuesPerNode))
        self.asked.append([(node.NodeId.Identifier, node.ContinuationPoint) for node in nodes])
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return answer(*said)


class Played:
    """The acquisition."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.left: list[Unfilled] = []
        self.reread: list[list[int]] = []
        self.filled_until: dict[int, int] = {}
        self.is_over = False

    async def restore(self, batch: SampleBatch) -> None:
        self.rows += [(tag, time_ns - START_NS) for tag, time_ns, *_ in batch.rows()]

    def again(self, tags: Sequence[int]) -> None:
        self.reread.append(list(tags))

    def filled(self, tags: Sequence[int], until_ns: int) -> None:
        self.filled_until |= dict.fromkeys(tags, until_ns - START_NS)

    def unfilled(self, part: Unfilled) -> None:
        self.left.append(part)

    async def restored(self, *, has_history: bool = True) -> None:
        assert has_history
        self.is_over = True


async def fill(historian: PlayedHistorian, tags: int, known_ns: list[int] | None = None) -> Played:
    """Fill one second before ``START_NS + 1 s``, of so many tags; ``known_ns``: what is here of each."""
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
    newest_ns = np.zeros(tags, np.int64) if known_ns is None else np.array(known_ns, np.int64)
    async with asyncio.timeout(60.0):
        await filling.run(Missing(START_NS, newest_ns), range(tags), bound)
    assert played.is_over
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
    assert played.left == []


@virtual_time
async def test_a_server_without_continuation_points_is_asked_for_fewer_nodes() -> None:
    full = values(status=StatusCodes.BadNoContinuationPoints)
    historian = PlayedHistorian(
        [values(START_NS + 1000), full, full, full], [values(START_NS + 2000), values(START_NS + 3000)], [values()]
    )
    played = await fill(historian, 4)
    assert [[node for node, _ in nodes] for nodes in historian.asked] == [[0, 1, 2, 3], [1, 2], [3]]
    assert sorted(played.rows) == [(0, 1000), (1, 2000), (2, 3000)]
    assert played.left == []


@virtual_time
async def test_a_continuation_point_that_is_lost_is_gone_on_from_by_time() -> None:
    lost = values(status=StatusCodes.BadContinuationPointInvalid)
    historian = PlayedHistorian(
        [values(START_NS + 1000, START_NS + 2000, continuation=b"c"), values(START_NS + 500)],
        [lost],
        [values(START_NS + 2000, START_NS + 3000)],
    )
    played = await fill(historian, 2)
    assert historian.asked == [[(0, None), (1, None)], [(0, b"c")], [(0, None)]]
    assert historian.begun[1:] == [0, 2000], "the second time from the last sample, which comes twice"
    assert (played.reread, played.left) == ([[0]], [])
    assert played.filled_until == {0: S, 1: S}


@virtual_time
async def test_what_ends_half_way_again_and_again_is_missing_from_there_on() -> None:
    lost = values(status=StatusCodes.BadContinuationPointInvalid)
    answers = [[values(START_NS + 1000, START_NS + 2000, continuation=b"c")], [lost]]
    historian = PlayedHistorian(*answers, *[[lost]] * (FAILURES_MAX - 1))
    played = await fill(historian, 1)
    assert played.rows == [(0, 1000), (0, 2000)]
    ((tags, first_ns, last_ns),) = [(part.tags, part.first_ns, part.last_ns) for part in played.left]
    assert (tags, first_ns, last_ns, historian.answers) == ((0,), START_NS + 2000, START_NS + S, [])


@virtual_time
async def test_what_a_server_refuses_for_good_is_asked_for_once() -> None:
    played = await fill(PlayedHistorian([values(status=StatusCodes.BadHistoryOperationUnsupported)]), 1)
    assert [(part.first_ns, part.last_ns) for part in played.left] == [(START_NS, START_NS + S)]


@virtual_time
async def test_a_server_that_is_busy_for_a_moment_is_asked_again_and_nothing_is_missing() -> None:
    busy = ServiceError(StatusCodes.BadTcpServerTooBusy)
    historian = PlayedHistorian([values(START_NS + 1000, continuation=b"c")], busy, busy, [values(START_NS + 2000)])
    played = await fill(historian, 1)
    assert (played.rows, played.left) == ([(0, 1000), (0, 2000)], [])
    assert historian.asked == [[(0, None)], [(0, b"c")], [(0, None)], [(0, None)]]


@virtual_time
async def test_values_that_are_too_many_for_one_answer_are_asked_for_in_smaller_numbers() -> None:
    large = ServiceError(StatusCodes.BadResponseTooLarge)
    historian = PlayedHistorian(large, large, [values(START_NS + 1000)])
    played = await fill(historian, 1)
    assert (played.rows, played.left) == ([(0, 1000)], [])
    assert historian.values_max == [1000, 250, 62]


@virtual_time
async def test_where_a_server_gives_no_more_each_tag_is_missing_from_where_it_had_come_to() -> None:
    historian = PlayedHistorian(
        [
            values(START_NS + 1000, continuation=b"c"),
            values(START_NS + 2000),
            values(START_NS + 3000, continuation=b"d"),
        ],
        ServiceError(StatusCodes.BadServiceUnsupported),
    )
    played = await fill(historian, 3)
    assert {(part.tags, part.first_ns - START_NS, part.last_ns - START_NS) for part in played.left} == {
        ((0,), 1000, S),
        ((2,), 3000, S),
    }


@virtual_time
async def test_a_tag_is_asked_for_from_what_is_known_of_it() -> None:
    historian = PlayedHistorian([values(START_NS + 6000)], [values()])
    await fill(historian, 1, [START_NS + 5000])
    assert historian.begun == [5000]


@virtual_time
async def test_a_historian_that_does_not_answer_leaves_the_rest_missing_and_the_connection_alone() -> None:
    played = await fill(PlayedHistorian([values(START_NS + 1000, continuation=b"c")], TimeoutError()), 1)
    assert played.rows == [(0, 1000)]
    assert [(part.tags, part.first_ns, part.reason) for part in played.left] == [
        ((0,), START_NS + 1000, "the server's history does not answer within 30 s")
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
