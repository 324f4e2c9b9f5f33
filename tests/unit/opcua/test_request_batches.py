"""Requests that name many nodes: cut to what the server takes, which may only show when it refuses one."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import (
    BadInternalError,
    BadServiceUnsupported,
    BadSessionIdInvalid,
    BadTooManyOperations,
    BadUserAccessDenied,
)

from connectors.opcua.attributes import PER_REQUEST_MAX, REFUSED_IN_A_ROW_MAX, Batches, attributes_of_each


class Answering:
    """A server that takes so many things in one request, and says the double of each."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sizes: list[int] = []

    async def __call__(self, part: Sequence[int]) -> list[int]:
        self.sizes.append(len(part))
        if len(part) > self.most:
            raise BadTooManyOperations
        return [2 * each for each in part]


async def test_things_are_asked_for_in_requests_of_the_size_that_is_known() -> None:
    server = Answering(3)
    assert await Batches(3).ask(range(7), server) == [0, 2, 4, 6, 8, 10, 12]
    assert server.sizes == [3, 3, 1]


async def test_a_limit_that_nobody_has_said_costs_few_requests_and_once() -> None:
    server, batches = Answering(5), Batches(40)
    assert await batches.ask(range(12), server) == [2 * each for each in range(12)]
    assert server.sizes == [12, 6, 3, 3, 3, 3]
    server.sizes.clear()
    await batches.ask(range(6), server)
    assert server.sizes == [3, 3]


async def test_another_refusal_or_one_of_a_single_thing_is_the_caller_s() -> None:
    async def refuse(part: Sequence[int]) -> list[int]:
        raise BadUserAccessDenied

    with pytest.raises(BadUserAccessDenied):
        await Batches().ask([1, 2], refuse)
    with pytest.raises(BadTooManyOperations):
        await Batches().ask([1], Answering(0))


async def test_one_thing_for_whose_sake_a_request_is_refused_costs_no_other_its_answer() -> None:
    asked: list[Sequence[int]] = []

    async def send(part: Sequence[int]) -> list[int]:
        asked.append(list(part))
        if 5 in part:
            raise BadInternalError
        return [2 * each for each in part]

    answers = await Batches(8).ask(range(10), send, lambda code: -1)
    assert answers == [-1 if each == 5 else 2 * each for each in range(10)]
    assert asked == [list(range(8)), [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7], [8, 9]]


async def test_a_thing_that_is_too_large_for_itself_says_nothing_of_the_size_of_requests() -> None:
    sizes: list[int] = []

    async def send(part: Sequence[int]) -> list[int]:
        sizes.append(len(part))
        if 5 in part or len(part) > 4:
            raise BadTooManyOperations
        return [2 * each for each in part]

    batches = Batches(16)
    assert await batches.ask(range(16), send, lambda code: -1) == [-1 if each == 5 else 2 * each for each in range(16)]
    assert batches.size == 4
    sizes.clear()
    assert await batches.ask([1, 2, 3, 5], send, lambda code: -1) == [2, 4, 6, -1]
    assert batches.size == 4


async def test_a_server_that_refuses_whatever_it_is_asked_for_is_not_asked_for_each_thing() -> None:
    asked = 0

    async def refuse(part: Sequence[int]) -> list[int]:
        nonlocal asked
        asked += 1
        raise BadInternalError

    assert await Batches(1000).ask(range(10_000), refuse, lambda code: -1) == [-1] * 10_000
    assert asked < 3 * REFUSED_IN_A_ROW_MAX


async def test_a_service_that_the_server_does_not_have_is_asked_for_once() -> None:
    asked: list[Sequence[int]] = []

    async def refuse(part: Sequence[int]) -> list[int]:
        asked.append(part)
        raise BadServiceUnsupported

    assert await Batches().ask(range(50), refuse, lambda code: code) == [BadServiceUnsupported.code] * 50
    assert len(asked) == 1


async def test_what_is_said_of_the_session_is_no_answer_to_any_thing() -> None:
    async def refuse(part: Sequence[int]) -> list[int]:
        raise BadSessionIdInvalid

    with pytest.raises(BadSessionIdInvalid):
        await Batches().ask([1, 2], refuse, lambda code: -1)


async def test_an_answer_with_too_few_results_is_never_given_to_the_wrong_thing() -> None:
    async def short(part: Sequence[int]) -> list[int]:
        return [1]

    with pytest.raises(ConnectionError, match="1 results when asked for 2"):
        await Batches().ask([1, 2], short)


async def test_attributes_of_thousands_of_nodes_come_in_order_and_the_answers_to_one_request_are_held_at_a_time() -> (
    None
):
    sizes: list[int] = []

    async def read(params: ua.ReadParameters) -> list[ua.DataValue]:
        sizes.append(len(params.NodesToRead))
        return [ua.DataValue(ua.Variant(f"{each.NodeId.Identifier}/{each.AttributeId}")) for each in params.NodesToRead]

    client: Any = SimpleNamespace(uaclient=SimpleNamespace(read=read))
    asked = [(name, ua.NodeId(f"n{name}", 1)) for name in range(2 * PER_REQUEST_MAX + 1)]
    place, held_max = 0, 0
    attributes = [AttributeIds.Value, AttributeIds.DataType]
    async for whom, (value, datatype) in attributes_of_each(client, asked, attributes, Batches()):
        assert whom == place
        assert value.Value is not None
        assert datatype.Value is not None
        assert (value.Value.Value, datatype.Value.Value) == (f"n{place}/13", f"n{place}/14")
        place += 1
        if place % PER_REQUEST_MAX == 1:
            held_max = max(held_max, sum(type(each) is ua.DataValue for each in gc.get_objects()))
    assert place == len(asked)
    assert sizes == [PER_REQUEST_MAX] * 4 + [2]
    assert held_max <= 2 * PER_REQUEST_MAX
