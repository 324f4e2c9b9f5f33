"""The MQTT session against a real Mosquitto: what gets through, what is refused in plain words, and what ends it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.throwaway_authority import ThrowawayAuthority

from connectors.model.errors import BrokerUnavailable, BrokerUnreachable
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import BrokerLimits, Message
from tests.contract.modbus_acquisition import listening
from tests.patience import WAIT_S_MAX


class Client:
    """A session that keeps what it receives."""

    def __init__(self, client_id: str, **more: Any) -> None:
        self.session = MqttSession(MqttOptions(client_id, **more))
        self.received: list[Message] = []

    async def connect(self, url: str, will: Message | None = None) -> BrokerLimits:
        return await self.session.connect(url, will, self.received.append)

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.received]


@asynccontextmanager
async def connected(url: str, client_id: str, *filters: str, **more: Any) -> AsyncIterator[Client]:
    client = Client(client_id, **more)
    await client.connect(url)
    if filters:
        await client.session.subscribe([(each, 1) for each in filters])
    try:
        yield client
    finally:
        await client.session.disconnect()


async def until(condition: Callable[[], object], limit_s: float = WAIT_S_MAX) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.005)


async def refusal(url: str, **more: Any) -> str:
    """Why there is no connection; a session that was refused is as good as new."""
    client = Client("refused", **more)
    with pytest.raises(BrokerUnavailable) as caught:
        await client.connect(url)
    with pytest.raises(BrokerUnavailable, match="there is no connection to a broker"):
        client.session.publish(Message("a", b""))
    await client.session.disconnect()
    return str(caught.value)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_messages_arrive_whole_and_in_order(mosquitto: MosquittoBroker, version: Literal["5", "3.1.1"]) -> None:
    async with (
        connected(mosquitto.url, "listener", "plant/#", version=version) as listener,
        connected(mosquitto.url, "sender", version=version) as sender,
    ):
        sent = [Message(f"plant/{number % 3}", bytes([number]) * number, qos=number % 2) for number in range(200)]
        for message in sent:
            sender.session.publish(message)
        await until(lambda: len(listener.received) == 200)
        assert [(m.topic, m.payload) for m in listener.received if m.qos == 0] == [
            (m.topic, m.payload) for m in sent if m.qos == 0
        ]
        assert [(m.topic, m.payload) for m in listener.received if m.qos == 1] == [
            (m.topic, m.payload) for m in sent if m.qos == 1
        ]


async def test_a_retained_message_is_known_by_its_flag(mosquitto: MosquittoBroker) -> None:
    async with connected(mosquitto.url, "host", "STATE/host") as host:
        host.session.publish(Message("STATE/host", b"online", qos=1, retain=True))
        await until(lambda: host.received)  # the broker has it: who comes before is sent it as a new one
        async with connected(mosquitto.url, "node", "STATE/host") as node:
            await until(lambda: node.received)
            assert node.received == [Message("STATE/host", b"online", 1, retain=True)]


async def test_the_will_is_sent_when_the_connection_breaks_and_not_at_a_goodbye(mosquitto: MosquittoBroker) -> None:
    async with connected(mosquitto.url, "host", "will/#") as host:
        node = Client("node")
        await node.connect(mosquitto.url, Message("will/1", b"goodbye", 1))
        await node.session.disconnect()
        await node.connect(mosquitto.url, Message("will/2", b"broken", 1))
        assert node.session._connection is not None
        raw = node.session._connection._client.socket()
        assert raw is not None
        raw.shutdown(socket.SHUT_RDWR)
        with pytest.raises(BrokerUnavailable, match="was lost"):
            await asyncio.wait_for(node.session.closed(), WAIT_S_MAX)
        await until(lambda: host.received)
        assert [(message.topic, message.payload) for message in host.received] == [("will/2", b"broken")]


@pytest.mark.parametrize(("version", "wills"), [("5", 1), ("3.1.1", 0)])
async def test_who_leaves_with_its_will_has_it_sent_by_mqtt_5(
    mosquitto: MosquittoBroker, version: Literal["5", "3.1.1"], wills: int
) -> None:
    async with connected(mosquitto.url, "host", "#") as host:
        node = Client("node", version=version, leave_with_will=True)
        await node.connect(mosquitto.url, Message("will/1", b"goodbye", 1))
        await node.session.disconnect()
        host.session.publish(Message("end", b"", 1))
        await until(lambda: host.received[-1:] and host.received[-1].topic == "end")
        assert [message.topic for message in host.received] == ["will/1"] * wills + ["end"]


async def test_nothing_listens_is_said_with_the_broker_s_address() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    expected = f"the broker {url} cannot be reached: nothing listens there; is the broker running, and is the port"
    assert (await refusal(url)).startswith(expected)


async def test_a_connect_that_was_never_sent_is_told_from_one_that_was_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnreachable):
        await Client("nobody").connect(f"mqtt://127.0.0.1:{free_port()}")
    broker = MosquittoBroker(tmp_path / "mosquitto", options=["allow_anonymous false"])
    broker.start()
    try:
        with pytest.raises(BrokerUnavailable) as caught:
            await Client("nobody").connect(broker.url)
        assert not isinstance(caught.value, BrokerUnreachable)
    finally:
        broker.stop()


async def test_a_wrong_password_is_refused_and_not_repeated(tmp_path: Path) -> None:
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", b"open sesame", salt, 101)
    words = [base64.b64encode(part).decode() for part in (salt, digest)]
    (tmp_path / "users").write_text(f"line:$7$101${words[0]}${words[1]}\n")
    options = ["allow_anonymous false", f"password_file {tmp_path / 'users'}"]
    broker = MosquittoBroker(tmp_path / "broker", options=options)
    broker.start()
    try:
        for login in ({}, {"user": "line", "password": "guess"}, {"user": "lime", "password": "open sesame"}):
            said = await refusal(broker.url, **login)
            assert said == (
                f"the broker {broker.url} refuses the connection: Not authorized; check user and password, the "
                "client's certificate, and what the broker allows this client"
            )
        async with connected(broker.url, "line", "a", user="line", password="open sesame") as client:
            client.session.publish(Message("a", b"in"))
            await until(lambda: client.payloads() == [b"in"])
    finally:
        broker.stop()


async def test_tls_holds_only_with_the_right_authority_name_and_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = ThrowawayAuthority(tmp_path / "authority")
    strangers = ThrowawayAuthority(tmp_path / "strangers")
    own = authority.issue("line")
    broker = MosquittoBroker(tmp_path / "broker", authority=authority)
    broker.start()
    try:
        right = {"ca_file": authority.certificate, "cert_file": own.certificate, "key_file": own.key}
        async with connected(broker.url, "line", "a", **right) as client:
            client.session.publish(Message("a", bytes(100_000)))
            await until(lambda: client.payloads() == [bytes(100_000)])
        unknown = await refusal(broker.url, **{**right, "ca_file": strangers.certificate})
        assert "its certificate is not trusted" in unknown
        assert "check ca_file and the host name" in unknown
        nobody = await refusal(broker.url, ca_file=authority.certificate)
        assert nobody.startswith(f"the broker {broker.url} takes the connection and closes it without an answer; check")
        assert nobody.endswith("whether it wants a certificate (cert_file, key_file)")
        theirs = strangers.issue("line")
        stranger = await refusal(
            broker.url, ca_file=authority.certificate, cert_file=theirs.certificate, key_file=theirs.key
        )
        assert stranger.startswith(f"the broker {broker.url} takes the connection and closes it without an answer")
        assert stranger.endswith("that it trusts the certificate in cert_file")
        system = await refusal(broker.url)
        assert "its certificate is not trusted" in system
        known, resolve = broker.url.replace("127.0.0.1", "broker.plant"), socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **more: resolve("127.0.0.1" if host == "broker.plant" else host, *rest, **more),
        )
        assert "Hostname mismatch" in await refusal(known, **right)
    finally:
        broker.stop()


async def test_a_port_without_tls_or_with_it_is_not_taken_for_the_other(
    mosquitto: MosquittoBroker, tmp_path: Path
) -> None:
    encrypted = mosquitto.url.replace("mqtt://", "mqtts://")
    said = await refusal(encrypted)
    assert said.startswith(f"the broker {encrypted} cannot be reached: ")
    assert said.endswith("is this a TLS port of an MQTT broker? (a port without TLS is written mqtt://)")
    secured = MosquittoBroker(tmp_path / "secured", authority=ThrowawayAuthority(tmp_path / "authority"))
    secured.start()
    try:
        plain = secured.url.replace("mqtts://", "mqtt://")
        assert await refusal(plain) == (
            f"the broker {plain} takes the connection and closes it without an answer; check that an MQTT broker "
            "listens at this port, and whether it wants TLS (then write mqtts://)"
        )
    finally:
        secured.stop()


async def test_something_else_at_the_port_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def web(request: bytes) -> bytes:
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

    def shell(request: bytes) -> bytes:
        return b"SSH-2.0-OpenSSH_9.2\r\n"

    for answer, closes, said in ((web, True, "closes it without an answer"), (shell, False, "within 0.5 s; check")):

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(await reader.read(100)))  # noqa: B023  served before the next turn
            while not closes and await reader.read(100):  # noqa: B023
                pass

        async with listening(serve) as endpoint:
            url = endpoint.replace("tcp://", "mqtt://")
            with monkeypatch.context() as patched:
                if not closes:
                    patched.setattr("connectors.mqtt.session.CONNECT_S_MAX", 0.5)
                reason = await refusal(url)
        assert reason.startswith(f"the broker {url} ")
        assert said in reason
        assert "that an MQTT broker listens at this port" in reason


async def test_a_host_that_nobody_knows_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_known(*_args: Any, **_more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_known)
    assert await refusal("mqtt://brokr.plant:1883") == (
        "the broker mqtt://brokr.plant:1883 cannot be reached: its host name is unknown; check the spelling and the "
        "name server, or write the IP address"
    )


async def test_a_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "plant-ca.pem"
    said = await refusal(f"mqtts://127.0.0.1:{free_port()}", ca_file=missing)
    assert f"ca_file: the file '{missing}' cannot be read: No such file or directory." in said
    assert "Errno" not in said


async def test_a_broker_that_dies_ends_the_session_and_the_next_connect_is_like_the_first(
    mosquitto: MosquittoBroker,
) -> None:
    client = Client("line")
    for _ in range(2):
        await client.connect(mosquitto.url)
        await client.session.subscribe([("a", 1)])
        client.session.publish(Message("a", b"before"))
        await until(lambda: client.payloads() == [b"before"])
        mosquitto.kill()
        with pytest.raises(BrokerUnavailable, match="was lost"):
            await asyncio.wait_for(client.session.closed(), WAIT_S_MAX)
        with pytest.raises(BrokerUnavailable, match="was lost"):
            client.session.publish(Message("a", b"during"))
        with pytest.raises(BrokerUnavailable):
            await client.session.subscribe([("b", 1)])
        client.received.clear()
        mosquitto.start()
    await client.session.disconnect()
    with pytest.raises(BrokerUnavailable, match="there is no connection"):
        client.session.publish(Message("a", b"after"))


async def test_a_broker_that_falls_silent_is_noticed_by_the_keep_alive(mosquitto: MosquittoBroker) -> None:
    async with connected(mosquitto.url, "line", keep_alive_s=2.0) as client:
        await asyncio.sleep(5.0)
        assert client.session._connection is not None
        assert not client.session._connection.closed.done(), "an idle connection lives on its pings"
        mosquitto.pause()
        with pytest.raises(BrokerUnavailable, match="has not answered for 2 s"):
            await asyncio.wait_for(client.session.closed(), WAIT_S_MAX)
        mosquitto.resume()


async def test_a_broker_that_takes_the_connection_and_says_nothing_is_given_up(
    mosquitto: MosquittoBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.mqtt.session.CONNECT_S_MAX", 0.5)
    mosquitto.pause()
    said = await refusal(mosquitto.url)
    mosquitto.resume()
    assert said == (
        f"the broker {mosquitto.url} does not answer within 0.5 s; check the address, that no firewall is between, "
        "and that an MQTT broker listens at this port"
    )


async def test_what_the_broker_does_not_take_yet_is_waited_for(mosquitto: MosquittoBroker) -> None:
    async with (
        connected(mosquitto.url, "listener", "big") as listener,
        connected(mosquitto.url, "sender") as sender,
    ):
        assert sender.session.unsent_bytes == 0
        mosquitto.pause()
        for number in range(200):
            sender.session.publish(Message("big", bytes([number]) * 100_000))
        assert sender.session.unsent_bytes > 10_000_000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.session.drained(1_000_000), 0.5)
        mosquitto.resume()
        await asyncio.wait_for(sender.session.drained(0), WAIT_S_MAX)
        assert sender.session.unsent_bytes == 0
        await until(lambda: len(listener.received) == 200)
        assert [payload[0] for payload in listener.payloads()] == list(range(200))


async def test_whoever_waits_for_the_socket_hears_that_the_connection_is_lost(mosquitto: MosquittoBroker) -> None:
    async with connected(mosquitto.url, "sender") as sender:
        mosquitto.pause()
        for _ in range(200):
            sender.session.publish(Message("big", bytes(100_000)))
        waiting = asyncio.create_task(sender.session.drained(0))
        await asyncio.sleep(0.1)
        mosquitto.resume()
        mosquitto.kill()
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(waiting, WAIT_S_MAX)


async def test_the_broker_s_limit_is_told(tmp_path: Path) -> None:
    broker = MosquittoBroker(tmp_path / "broker", options=["max_packet_size 20000"])
    broker.start()
    try:
        client = Client("line")
        assert await client.connect(broker.url) == BrokerLimits(20_000)
        await client.session.disconnect()
    finally:
        broker.stop()


async def test_a_session_that_is_taken_over_ends(mosquitto: MosquittoBroker) -> None:
    async with connected(mosquitto.url, "line") as first, connected(mosquitto.url, "line"):
        with pytest.raises(BrokerUnavailable, match="was lost"):
            await asyncio.wait_for(first.session.closed(), WAIT_S_MAX)


async def test_a_defect_of_a_message_handler_ends_the_session_with_it(mosquitto: MosquittoBroker) -> None:
    def defect(message: Message) -> None:
        raise RuntimeError("a defect")

    session = MqttSession(MqttOptions("line"))
    await session.connect(mosquitto.url, None, defect)
    await session.subscribe([("a", 0)])
    session.publish(Message("a", b""))
    with pytest.raises(RuntimeError, match="a defect"):
        await asyncio.wait_for(session.closed(), WAIT_S_MAX)
    await session.disconnect()


async def test_what_a_broker_says_at_the_end_is_repeated_with_what_to_do() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK: success, no properties
        writer.write(b"\xe0\x02\x8e\x00")  # DISCONNECT: session taken over
        await reader.read(100)

    async with listening(serve) as endpoint:
        session = MqttSession(MqttOptions("line"))
        await session.connect(endpoint.replace("tcp://", "mqtt://"), None, lambda message: None)
        with pytest.raises(BrokerUnavailable, match="was lost: Session taken over; another client came with the same"):
            await asyncio.wait_for(session.closed(), WAIT_S_MAX)
        await session.disconnect()
