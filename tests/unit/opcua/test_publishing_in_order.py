"""Messages that come late, count anew, or cannot be asked for any more: no sample comes twice, and none is lost."""

from __future__ import annotations

import asyncio

import pytest
from asyncua.ua.uaerrors import BadSubscriptionIdInvalid

from connectors.model.errors import DeviceUnavailable
from tests.unit.opcua.test_publishing import Bench
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_message_that_comes_late_is_not_handed_over_twice() -> None:
    bench = Bench()
    bench.server.kept = {2: 2.0}
    for number in (1, 3, 2, 4):
        bench.server.publish(number, float(number))
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 2.0, 3.0, 4.0]
    await bench.end()


@virtual_time
async def test_a_server_that_counts_anew_loses_no_sample() -> None:
    bench = Bench()
    for number in (1, 2, 3, 1, 2):
        bench.server.publish(number, float(number))
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 2.0, 3.0, 1.0, 2.0]
    assert bench.server.asked_again == []
    await bench.end()


@virtual_time
async def test_a_subscription_that_is_gone_when_a_message_is_asked_for_ends_the_connection() -> None:
    bench = Bench()
    bench.server.refuses_with = BadSubscriptionIdInvalid
    bench.server.publish(1, 1.0)
    bench.server.publish(3, 3.0)
    with pytest.raises(ExceptionGroup) as caught:
        await bench.task
    assert isinstance(caught.value.exceptions[0], DeviceUnavailable)
