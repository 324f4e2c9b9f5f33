"""What a server says of its state is judged: where it looks at no value, values do not merely stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary
from asyncua.ua.uaerrors import BadInternalError, BadSessionIdInvalid, UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.server_state import check_state, watch_state
from connectors.opcua.settings import OpcUaDevice
from tests.virtual_time import virtual_time

RUNNING, FAILED, NO_CONFIGURATION, SUSPENDED, SHUTDOWN, TEST, COMMUNICATION_FAULT, UNKNOWN = range(8)
NOON = datetime(2026, 11, 29, 12)
DEVICE = OpcUaDevice.model_validate(
    {
        "name": "press",
        "driver": "opcua",
        "endpoint": "opc.tcp://p",
        "insecure": True,
        "tags": [{"name": "a", "at": "i=1"}],
    }
)


class PlayedServer:
    """Answers reads with its state, or with nothing."""

    def __init__(self, state: ua.DataValue | None) -> None:
        self.state = state
        self.clock: Callable[[], datetime] | None = None
        self.reads = 0

    async def send_request(self, request: Any, timeout: float) -> Buffer:
        self.reads += 1
        if self.state is None:
            await asyncio.sleep(timeout)
            raise TimeoutError
        response = ua.ReadResponse()
        clock = ua.DataValue() if self.clock is None else ua.DataValue(ua.Variant(self.clock()))
        response.Results = [self.state, clock]
        return Buffer(struct_to_binary(response))

    @property
    def client(self) -> Client:
        return cast(Client, SimpleNamespace(uaclient=SimpleNamespace(protocol=self)))


def in_state(number: int) -> ua.DataValue:
    return ua.DataValue(ua.Variant(number, ua.VariantType.Int32))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (FAILED, "it has failed"),
        (NO_CONFIGURATION, "it has no configuration"),
        (SUSPENDED, "it is suspended"),
        (SHUTDOWN, "it is shutting down"),
    ],
)
def test_a_server_that_gives_no_values_is_unavailable_and_says_why(state: int, said: str) -> None:
    @virtual_time
    async def scene() -> None:
        with pytest.raises(DeviceUnavailable, match=f"press: the server is there, but {said}"):
            await check_state(PlayedServer(in_state(state)).client, DEVICE, 5.0)

    scene()


@pytest.mark.parametrize("state", [RUNNING, TEST, COMMUNICATION_FAULT, UNKNOWN, 99])
def test_in_every_other_state_the_quality_of_each_value_counts(state: int) -> None:
    @virtual_time
    async def scene() -> None:
        await check_state(PlayedServer(in_state(state)).client, DEVICE, 5.0)

    scene()


@virtual_time
async def test_a_server_that_does_not_let_its_state_be_read_is_taken_for_one_that_runs() -> None:
    refused = ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(ua.StatusCodes.BadNodeIdUnknown)))
    await check_state(PlayedServer(refused).client, DEVICE, 5.0)


@virtual_time
async def test_a_server_that_publishes_and_answers_no_request_is_given_up() -> None:
    with pytest.raises(DeviceUnavailable, match="the server has not said its state for 30 s"):
        await watch_state(PlayedServer(None).client, DEVICE)


@virtual_time
async def test_a_state_that_changes_is_noticed_while_connected() -> None:
    server = PlayedServer(in_state(RUNNING))
    watch = asyncio.create_task(watch_state(server.client, DEVICE))
    await asyncio.sleep(100.0)
    assert (watch.done(), server.reads) == (False, 6)
    server.state = in_state(SUSPENDED)
    with pytest.raises(DeviceUnavailable, match="suspended"):
        await watch


@virtual_time
async def test_a_clock_that_has_gone_and_stands_still_shows_a_server_that_looks_at_nothing() -> None:
    server, loop = PlayedServer(in_state(RUNNING)), asyncio.get_running_loop()
    server.clock = lambda: NOON + timedelta(seconds=min(loop.time(), 100.0))
    with pytest.raises(DeviceUnavailable, match="its clock has stood still for 45 s"):
        await watch_state(server.client, DEVICE)
    assert 100.0 < loop.time() < 160.0


@virtual_time
async def test_a_clock_that_never_goes_says_nothing() -> None:
    server = PlayedServer(in_state(RUNNING))
    server.clock = lambda: NOON
    watch = asyncio.create_task(watch_state(server.client, DEVICE))
    await asyncio.sleep(1000.0)
    assert not watch.done()
    watch.cancel()


@pytest.mark.parametrize(("refusal", "is_refused"), [(BadInternalError, False), (BadSessionIdInvalid, True)])
async def test_a_server_that_refuses_to_be_asked_is_taken_for_one_that_runs(
    refusal: type[UaError], is_refused: bool
) -> None:
    class Refusing(PlayedServer):
        async def send_request(self, request: Any, timeout: float) -> Buffer:
            raise refusal

    with pytest.raises(refusal) if is_refused else nullcontext():
        await check_state(Refusing(None).client, DEVICE, 1.0)
