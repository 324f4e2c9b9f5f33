"""The publish loop: a response is acknowledged to the server only when its samples are on disk; silence is a fault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UASocketProtocol, UASocketState
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from asyncua.ua.uaerrors import (
    BadMessageNotAvailable,
    BadServiceUnsupported,
    BadTooManyPublishRequests,
    UaError,
)

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import Int32Array, Int64Array, SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.opcua.binding import BoundTag
from connectors.opcua.publishing import Publishing
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.subscriptions import Subscriptions
from tests.virtual_time import VirtualClock, virtual_time

KEEP_ALIVE_S = 5.0


def changes(values: Sequence[Any], kind: Any = ua.VariantType.Double, status: int = 0) -> ua.DataChangeNotification:
    """A value of each tag, from the first on."""
    change = ua.DataChangeNotification()
    change.MonitoredItems = [
        ua.MonitoredItemNotification(
            ua.UInt32(tag), ua.DataValue(ua.Variant(value, kind), StatusCode=ua.StatusCode(ua.UInt32(status)))
        )
        for tag, value in enumerate(values)
    ]
    return change


class PlayedServer:
    """Answers publish requests with what the test gives; keeps the acknowledgements that come with them.

    To the agent it is the protocol of a connection without security.
    """

    state = UASocketState.OPEN
    pre_request_hook = None
    authentication_token = ua.NodeId(b"\x01" * 32, 0, ua.NodeIdType.ByteString)
    logger = logging.getLogger("played")
    check_answer = UASocketProtocol.check_answer

    def __init__(self) -> None:
        self.transport, self._connection = self, self
        self._request_id = self._request_handle = 0
        self._callbackmap: dict[int, asyncio.Future[Buffer]] = {}
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.acknowledged: list[int] = []
        self.requests = 0
        self.held = 0
        self.holds_max: int | None = None
        self.kept: dict[int, float] = {}
        """The values of messages that can be sent again, by number."""
        self.asked_again: list[int] = []
        self.refuses_with: type[UaError] = BadMessageNotAvailable

    async def send_request(self, request: ua.RepublishRequest) -> Buffer:
        return self._sent_again(request.Parameters.RetransmitSequenceNumber)

    def revolve_security_token(self) -> None:
        """There is none."""

    def message_to_binary(self, message: bytes, request_id: int) -> bytes:
        """A message in the clear; the agent has entered nothing for its answer yet."""
        assert request_id not in self._callbackmap
        return message

    def write(self, message: bytes) -> None:
        """What the agent sends."""
        request = struct_from_binary(ua.PublishRequest, Buffer(message))
        answer = self._callbackmap[request.RequestHeader.RequestHandle]
        task = asyncio.ensure_future(self._answer(request, answer))
        answer.add_done_callback(lambda _answer: task.cancel())

    async def _answer(self, request: ua.PublishRequest, answer: asyncio.Future[Buffer]) -> None:
        self.requests += 1
        if self.holds_max is not None and self.held >= self.holds_max:
            fault = ua.ServiceFault()
            fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.UInt32(BadTooManyPublishRequests.code))
            answer.set_result(Buffer(struct_to_binary(fault)))
            return
        self.acknowledged += [ack.SequenceNumber for ack in request.Parameters.SubscriptionAcknowledgements]
        self.held += 1
        try:
            answer.set_result(Buffer(await self.answers.get()))
        finally:
            self.held -= 1

    def _sent_again(self, number: int) -> Buffer:
        self.asked_again.append(number)
        if number not in self.kept:
            raise self.refuses_with()
        response = ua.RepublishResponse()
        response.NotificationMessage.SequenceNumber = ua.UInt32(number)
        response.NotificationMessage.NotificationData = [changes([self.kept[number]])]
        return Buffer(struct_to_binary(response))

    def publish(
        self, number: int, *values: Any, kind: Any = ua.VariantType.Double, status: int = 0, subscription: int = 1
    ) -> None:
        """One response; without values a keep-alive."""
        response = ua.PublishResponse()
        response.Parameters.SubscriptionId = ua.UInt32(subscription)
        response.Parameters.MoreNotifications = False
        response.Parameters.NotificationMessage.SequenceNumber = ua.UInt32(number)
        if values:
            response.Parameters.NotificationMessage.NotificationData = [changes(values, kind, status)]
        self.answers.put_nowait(struct_to_binary(response))


class PlayedAcquisition:
    """Takes samples when there is room, and says that they are on disk when the test says so."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.committed: list[Callable[[], None]] = []
        self.room = asyncio.Event()
        self.room.set()

    def lost(self, tags: Int32Array, time_ns: Int64Array) -> None:
        self.values.append(("lost before", tags.tolist(), time_ns.tolist()))

    def not_sent(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        assert first_ns < last_ns
        self.values.append(("not sent", tags.tolist(), detail))

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        await self.room.wait()
        self.values += batch.value.tolist()
        if committed is not None:
            self.committed.append(committed)


class Bench:
    """The publish loop of a device with two tags, the second of them scaled."""

    def __init__(self, subscriptions: int = 1, holds_max: int | None = None) -> None:
        self.server, self.acquisition = PlayedServer(), PlayedAcquisition()
        self.reads = 0
        tags = [{"name": "a", "at": "i=1"}, {"name": "b", "at": "i=2", "scale": 10.0}]
        entry = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://p", "insecure": True, "tags": tags}
        device = OpcUaDevice.model_validate(entry)
        client = SimpleNamespace(uaclient=SimpleNamespace(protocol=self.server))
        self.publishing = Publishing(cast(Client, client), device, VirtualClock(), cast(Any, self.acquisition))
        kinds = [TagType(index, TagName(tag.name), DataType.DOUBLE) for index, tag in enumerate(device.tags)]
        self.bound = [
            BoundTag(kind.index, tag, ua.NodeId(kind.index), DataType.DOUBLE, kind)
            for kind, tag in zip(kinds, device.tags, strict=True)
        ]
        for bound in self.bound:
            self.publishing.bind(bound)
        self.server.holds_max = holds_max
        numbers = list(range(1, subscriptions + 1))
        on_server = SimpleNamespace(
            count=subscriptions,
            numbers=numbers,
            keep_alive_s=KEEP_ALIVE_S,
            lag_s_max=0.2,
            tags_of=lambda _number: self.bound,
            present_values=self.present_values,
        )
        self.task = asyncio.create_task(self.publishing.run(cast(Subscriptions, on_server)))

    async def present_values(self, _number: int) -> list[bytes]:
        self.reads += 1
        return []

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@virtual_time
async def test_a_response_is_acknowledged_only_when_its_samples_are_on_disk() -> None:
    bench = Bench()
    bench.server.publish(1, 1.0, 2.0)
    bench.server.publish(2)
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 20.0]
    assert len(bench.acquisition.committed) == 1, "one word for both parts of the response"
    bench.server.publish(2)
    await asyncio.sleep(1.0)
    assert bench.server.acknowledged == []
    bench.acquisition.committed[0]()
    bench.server.publish(2)
    await asyncio.sleep(1.0)
    assert bench.server.acknowledged == [1]
    bench.server.publish(2)
    await asyncio.sleep(1.0)
    assert bench.server.acknowledged == [1], "once"
    await bench.end()


@virtual_time
async def test_responses_are_handed_over_in_their_order_while_the_acquisition_is_full() -> None:
    bench = Bench()
    bench.acquisition.room.clear()
    for number in range(6):
        bench.server.publish(number + 1, float(number))
    await asyncio.sleep(100.0)
    assert not bench.task.done(), "whoever waits for room here is not silent there"
    assert bench.server.requests == 2, "no more is asked for than there is room"
    bench.acquisition.room.set()
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [float(number) for number in range(6)]
    await bench.end()


@virtual_time
async def test_a_server_that_sends_nothing_for_too_long_is_given_up() -> None:
    bench = Bench()
    for _ in range(10):
        bench.server.publish(1)
        await asyncio.sleep(14.0)
    assert not bench.task.done()
    begin_s = asyncio.get_running_loop().time() - 14.0
    with pytest.raises(ExceptionGroup) as caught:
        await bench.task
    assert "not even a keep-alive" in str(caught.value.exceptions[0])
    assert asyncio.get_running_loop().time() - begin_s == pytest.approx(15.0)


@virtual_time
async def test_a_subscription_that_died_on_the_server_is_noticed_while_another_goes_on() -> None:
    bench = Bench(subscriptions=2)
    for _ in range(3):
        bench.server.publish(1, subscription=1)
        bench.server.publish(1, subscription=2)
        await asyncio.sleep(10.0)
    assert not bench.task.done()
    for _ in range(20):
        bench.server.publish(1, subscription=1)
        await asyncio.sleep(1.0)
        if bench.task.done():
            break
    with pytest.raises(ExceptionGroup) as caught:
        await bench.task
    assert "one subscription has sent nothing for 15 s" in str(caught.value.exceptions[0])


@virtual_time
async def test_a_defect_of_the_acquisition_is_not_blamed_on_the_server() -> None:
    bench = Bench()

    async def defective(batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        raise ValueError("a defect")

    bench.acquisition.put = defective  # type: ignore[method-assign]
    bench.server.publish(1, 1.0)
    with pytest.raises(ExceptionGroup) as caught:
        await bench.task
    assert isinstance(caught.value.exceptions[0], ValueError)


@virtual_time
async def test_a_server_that_holds_few_requests_gets_no_more_and_loses_no_acknowledgement() -> None:
    bench = Bench(subscriptions=6, holds_max=5)
    await asyncio.sleep(1.0)
    assert (bench.server.held, bench.server.requests) == (5, 12)
    for number in range(1, 41):
        bench.server.publish(1 + (number - 1) // 6, float(number), subscription=1 + (number - 1) % 6)
        await asyncio.sleep(1.0)
        bench.acquisition.committed.pop()()
        bench.server.holds_max = 2 if number == 10 else bench.server.holds_max
    assert (bench.task.done(), bench.server.held) == (False, 2)
    for _ in range(3):
        bench.server.publish(8, subscription=4)
        await asyncio.sleep(1.0)
    assert sorted(bench.server.acknowledged) == sorted(1 + number // 6 for number in range(40))
    await bench.end()


@virtual_time
async def test_a_server_that_holds_no_request_now_is_asked_again_until_it_counts_as_silent() -> None:
    bench = Bench(holds_max=0)
    await asyncio.sleep(5.0)
    bench.server.holds_max = 1
    await asyncio.sleep(2.0)
    bench.server.publish(1, 7.0)
    await asyncio.sleep(1.0)
    assert (bench.acquisition.values, bench.task.done()) == ([7.0], False)
    bench.server.holds_max = 0
    bench.server.publish(2)
    with pytest.raises(ExceptionGroup) as caught:
        await bench.task
    assert "not even a keep-alive" in str(caught.value.exceptions[0])
    assert bench.server.requests < 40, "once a second"


@virtual_time
async def test_what_the_server_s_queue_has_lost_is_said_before_the_sample_that_follows() -> None:
    bench = Bench()
    await asyncio.sleep(1.0)
    bench.server.publish(1, 1.0, 2.0)
    await asyncio.sleep(1.0)
    received_ns = VirtualClock().now_ns()
    bench.server.publish(2, 3.0, status=0x0480)
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 20.0, ("lost before", [0], [received_ns]), 3.0]
    await bench.end()


@pytest.mark.parametrize("answer", [b"", b"\x01\x00", bytes(40), b"\xff" * 40])
def test_what_cannot_be_read_ends_the_connection_with_a_reason(answer: bytes) -> None:
    @virtual_time
    async def scene() -> None:
        bench = Bench()
        bench.server.answers.put_nowait(answer)
        with pytest.raises(ExceptionGroup) as caught:
            await bench.task
        (error,) = caught.value.exceptions
        assert isinstance(error, DeviceUnavailable)
        assert str(error).startswith("press: ")

    scene()


@virtual_time
async def test_a_message_that_did_not_come_is_asked_for_and_handed_over_first() -> None:
    bench = Bench()
    bench.server.kept = {2: 2.0, 3: 3.0}
    bench.server.publish(1, 1.0)
    bench.server.publish(4, 4.0)
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 2.0, 3.0, 4.0]
    assert bench.server.asked_again == [2, 3]
    for committed in bench.acquisition.committed:
        committed()
    bench.server.publish(5)
    bench.server.publish(5)
    await asyncio.sleep(1.0)
    assert bench.server.acknowledged == [1, 2, 3, 4], "what was sent again too"
    await bench.end()


@pytest.mark.parametrize("refusal", [BadMessageNotAvailable, BadServiceUnsupported])
def test_a_message_that_the_server_does_not_have_any_more_is_declared(refusal: type[UaError]) -> None:
    @virtual_time
    async def scene() -> None:
        bench = Bench()
        bench.server.refuses_with = refusal
        bench.server.kept = {3: 3.0}
        bench.server.publish(1, 1.0)
        bench.server.publish(4, 4.0)
        await asyncio.sleep(1.0)
        detail = "1 message of the server did not come, and the server cannot send it again"
        assert bench.acquisition.values == [1.0, 3.0, ("not sent", [0, 1], detail), 4.0]
        assert (bench.publishing.messages_lost, bench.reads) == (1, 1)
        await bench.end()

    scene()


@virtual_time
async def test_a_keep_alive_shows_that_the_last_message_did_not_come() -> None:
    bench = Bench()
    bench.server.kept = {2: 2.0}
    bench.server.publish(1, 1.0)
    bench.server.publish(3)
    bench.server.publish(3, 3.0)
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 2.0, 3.0]
    assert bench.server.asked_again == [2]
    await bench.end()
