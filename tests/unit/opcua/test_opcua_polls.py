"""Polling without a server: what many tags cost, and what is kept of what a server says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary

from connectors.model.datatypes import DataType
from connectors.model.tags import TagName, TagType
from connectors.opcua.binding import BoundTag
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.polling import Polling
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.tag_settings import OpcUaTag
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, until

QUEUE_OVERFLOWED = 0x0000_0480


def polling(count: int, send: Any = None, recorder: Recorder | None = None) -> Polling:
    tags = [{"name": f"t{index}", "at": f"ns=1;i={index}", "poll": "1ms"} for index in range(count)]
    device = OpcUaDevice.model_validate(
        {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://h:1", "insecure": True, "tags": tags}
    )
    client = SimpleNamespace(uaclient=SimpleNamespace(protocol=SimpleNamespace(send_request=send)))
    acquisition: Any = recorder or Recorder()
    return Polling(cast(Client, client), device, SystemClock(), acquisition, OperationLimits(), asyncio.Lock())


def bound(index: int) -> BoundTag:
    settings = OpcUaTag.model_validate({"name": f"t{index}", "at": f"ns=1;i={index}", "poll": "1ms"})
    kind = TagType(index, TagName(settings.name), DataType.DOUBLE, "", "")
    return BoundTag(index, settings, ua.NodeId(index, 1), DataType.DOUBLE, kind)


def test_many_tags_are_taken_in_with_a_few_looks_at_each() -> None:
    looks = 0

    class Looked:
        """A tag that counts who looks at it: ten thousand of them would stop the agent for half a minute."""

        def __init__(self, tag: BoundTag) -> None:
            self._tag = tag

        def __getattr__(self, name: str) -> Any:
            nonlocal looks
            looks += 1
            return getattr(self._tag, name)

    count = 1000
    polling(count).add(cast(Any, [Looked(bound(index)) for index in reversed(range(count))]))
    assert count < looks < 20 * count


async def test_the_overflow_bit_of_a_read_is_no_loss_and_nothing_is_kept_of_it() -> None:
    reads = 0

    async def send(_request: Any) -> Buffer:
        nonlocal reads
        reads += 1
        if reads > 50:
            await asyncio.Event().wait()
        made = ua.ReadResponse()
        status = ua.StatusCode(ua.UInt32(QUEUE_OVERFLOWED))
        made.Results = [ua.DataValue(ua.Variant(1.0, ua.VariantType.Double), StatusCode=status)]
        return Buffer(struct_to_binary(made))

    recorder = Recorder()
    recorder.onlines.append(([bound(0).type], []))
    at_work = polling(1, send, recorder)
    at_work._registers = False
    at_work.add([bound(0)])
    running = asyncio.create_task(at_work.run())
    await until(lambda: reads > 50, running)
    running.cancel()
    await asyncio.wait([running])
    assert len(recorder.rows) == 50
    assert recorder.losses == []
    assert at_work._decoder.take_overflowed() == []
