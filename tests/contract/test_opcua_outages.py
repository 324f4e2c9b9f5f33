"""The OPC UA driver and a server of open62541 that refuses, dies, falls silent, changes, or is left in good order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest

from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_TYPE_MISMATCH, GOOD
from tests.contract.modbus_acquisition import listening
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.patience import WAIT_S_MAX
from tests.servers.opcua import OpcUaServer


async def reason_of(task: asyncio.Task[None], within_s: float = WAIT_S_MAX) -> str:
    """Why the device became unavailable."""
    with pytest.raises(DeviceUnavailable) as caught:
        await asyncio.wait_for(task, within_s)
    return caught.value.reason


async def test_a_session_is_closed_when_the_driver_is_stopped(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"]), recorder) as task:
        await until(lambda: recorder.rows, task)
        assert opcua_server.sessions == 1
    assert opcua_server.sessions == 0


async def test_a_server_that_dies_makes_the_device_unavailable_and_it_can_be_acquired_again(
    opcua_server: OpcUaServer,
) -> None:
    opcua_server.add("force", "Double", 1.0)
    recorder = Recorder()
    press = driver(opcua_server.endpoint, ["force"])
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.rows, task)
        opcua_server.kill()
        lost = f"press: the connection to 127.0.0.1:{opcua_server.port} was lost ("
        assert (await reason_of(task)).startswith(lost)
    nothing = f"press: nothing listens at 127.0.0.1:{opcua_server.port}; is the OPC UA server running, and is the port"
    assert (await reason_of(asyncio.ensure_future(press.acquire(recorder)))).startswith(nothing)
    assert len(recorder.onlines) == 1
    opcua_server.start()
    opcua_server.add("force", "Double", 2.0)
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.last() == {0: 2.0}, task)
    assert len(recorder.onlines) == 2


async def test_a_server_that_falls_silent_is_noticed(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 1.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"], silence="600ms"), recorder) as task:
        await until(lambda: recorder.rows, task)
        opcua_server.pause()
        reason = await reason_of(task)
        assert "connected, but nothing has come for 1 s, not even a keep-alive" in reason
        opcua_server.resume()


async def test_a_device_of_which_no_tag_is_there_stays_online_and_gets_the_tag_that_comes(
    opcua_server: OpcUaServer,
) -> None:
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"], silence="300ms"), recorder) as task:
        await until(lambda: recorder.onlines, task)
        await asyncio.sleep(1.5)  # several times the silence after which a subscription would be given up
        assert not task.done()
        assert [(types, [problem.tag for problem in problems]) for types, problems in recorder.onlines] == [
            ([], ["t0"])
        ]
        opcua_server.add("force", "Double", 1.0)
        await until(lambda: recorder.last() == {0: 1.0}, task)


async def test_a_server_that_dies_is_missed_though_no_tag_is_there(opcua_server: OpcUaServer) -> None:
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"], silence="300ms", retry="60s"), recorder) as task:
        await until(lambda: recorder.onlines, task)
        opcua_server.kill()
        assert f"127.0.0.1:{opcua_server.port} was lost" in await reason_of(task)


async def test_values_that_stand_still_are_no_silence(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 1.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"], silence="1500ms"), recorder) as task:
        await until(lambda: recorder.rows, task)
        await asyncio.sleep(4.0)
        assert not task.done()
        assert recorder.of(0) == [(1.0, GOOD)]


async def test_a_server_that_accepts_and_says_nothing_is_given_up(opcua_server: OpcUaServer) -> None:
    opcua_server.pause()
    begin_s = time.monotonic()
    reason = await reason_of(
        asyncio.ensure_future(driver(opcua_server.endpoint, ["force"], timeout="500ms").acquire(Recorder()))
    )
    opcua_server.resume()
    begins = f"press: 127.0.0.1:{opcua_server.port} does not answer within 0.5 s; check that the server is switched on"
    assert reason.startswith(begins)
    assert time.monotonic() - begin_s > 0.4


async def test_a_host_that_nobody_knows_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_known(*_args: Any, **_more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_known)
    reason = await reason_of(asyncio.ensure_future(driver("opc.tcp://pres.plant", ["force"]).acquire(Recorder())))
    assert reason == "press: the host name 'pres.plant' is not known; check the spelling, or write the IP address"


async def test_whatever_else_listens_at_the_port_is_no_opcua_server() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(64))
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    for serve, timeout, said in (
        (greet, "1s", "does not answer within 1 s"),
        (hang_up, "60s", "closes it again; check that an OPC UA server"),
    ):
        async with listening(serve) as endpoint:
            task = asyncio.ensure_future(driver(f"opc.{endpoint}", ["x"], timeout=timeout).acquire(Recorder()))
            reason = await reason_of(task)
        assert reason.startswith(f"press: {endpoint.removeprefix('tcp://')} ")
        assert said in reason


async def test_a_wrong_password_is_refused_in_plain_words_and_the_right_one_taken(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 1.0)
    opcua_server.command(user="lineside", password="open sesame")
    known = {"user": "lineside", "plain_password": "allow"}  # it has no certificate to encrypt one with
    wrongs: tuple[dict[str, Any], ...] = ({}, {"security": {**known, "password": "${env:GUESS}"}})
    for wrong in wrongs:
        task = asyncio.ensure_future(driver(opcua_server.endpoint, ["force"], **wrong).acquire(Recorder()))
        reason = await reason_of(task)
        assert "the server refused the user; check security.user and security.password" in reason
        assert "guess" not in reason
    right = driver(opcua_server.endpoint, ["force"], security={**known, "password": "${env:PRESS}"})
    recorder = Recorder()
    async with acquiring(right, recorder) as task:
        await until(lambda: recorder.last() == {0: 1.0}, task)


async def test_a_value_that_comes_in_another_type_is_converted_where_that_loses_nothing(
    opcua_server: OpcUaServer,
) -> None:
    opcua_server.command(add="any", type="Double", value=1.5, datatype="i=24")
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["any"], retry="60s"), recorder) as task:
        await until(lambda: recorder.rows, task)
        for number, (kind, value) in enumerate((("Int16", 7), ("Float", 0.25), ("String", "off"), ("Double", 2.5)), 2):
            opcua_server.write("any", kind, value)
            await until(lambda: len(recorder.rows) == number, task)  # noqa: B023  awaited in the loop
    assert recorder.of(0) == [(1.5, GOOD), (7.0, GOOD), (0.25, GOOD), (None, BAD_TYPE_MISMATCH), (2.5, GOOD)]


async def test_a_tag_that_has_changed_its_type_makes_the_driver_connect_anew(opcua_server: OpcUaServer) -> None:
    opcua_server.command(add="any", type="Double", value=1.5, datatype="i=24")
    recorder = Recorder()
    press = driver(opcua_server.endpoint, ["any"], retry="300ms")
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.rows, task)
        opcua_server.write("any", "String", "ready")
        reason = await reason_of(task)
        assert reason == "press: 1 tag has changed its type on the server (t0); connecting anew"
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.last() == {0: "ready"}, task)


async def test_a_node_that_is_taken_away_gives_a_bad_sample_or_a_problem(opcua_server: OpcUaServer) -> None:
    opcua_server.add("gone", "Double", 1.0)
    opcua_server.add("stays", "Double", 1.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["gone", "stays"]), recorder) as task:
        await until(lambda: len(recorder.last()) == 2, task)
        opcua_server.remove("gone")
        opcua_server.write("stays", "Double", 2.0)
        await until(lambda: recorder.last()[1] == 2.0, task)
        await until(lambda: recorder.of(0)[-1][1] != GOOD, task)


async def test_samples_wait_with_the_server_while_the_acquisition_is_full(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = SlowRecorder()
    tags: list[dict[str, Any] | str] = [{"at": "ns=1;s=force", "queue_size": 100}]
    async with acquiring(driver(opcua_server.endpoint, tags, silence="1s"), recorder) as task:
        await until(lambda: recorder.rows, task)
        recorder.room.clear()
        for number in range(1, 21):
            await opcua_server.write_for("force", "Double", float(number), 0.1)
        recorder.room.set()
        await until(lambda: recorder.last() == {0: 20.0}, task)
    assert [value for value, _ in recorder.of(0)] == [float(number) for number in range(21)]


class SlowRecorder(Recorder):
    """An acquisition that can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()
        self.room.set()

    async def put(self, batch: Any, committed: Any = None) -> None:
        await self.room.wait()
        await super().put(batch, committed)
