"""A program of somebody else asks the real ``cloud-ingest`` by gRPC with TLS, until the process is stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import grpc
from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.throwaway_authority import ThrowawayAuthority

from connectors.lineside_api.v1.commands_pb2 import Action, SendCommandRequest, WriteTag
from connectors.lineside_api.v1.data_pb2 import StreamSamplesRequest, TagName, TagRef, Value
from connectors.model.datatypes import DataType
from tests.contract.rpc_steps import Program, by, first, refused
from tests.played_agent import PlayedAgent, Sample
from tests.system.cloud_process import Cloud, eventually, line

FORCE = TagRef(name=TagName(agent="plant/line-1", device="press", tag="force"))


async def test_a_program_follows_a_tag_from_the_broker_to_its_stream_until_the_gateway_stops(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    authority = ThrowawayAuthority(tmp_path / "authority")
    own, port = authority.issue("gateway", hosts=["localhost", "127.0.0.1"]), free_port()
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)
    cloud.add("grpc", {"port": port, "tls": {"certificate": str(own.certificate), "key": str(own.key)}})
    store, process = cloud.process("ingest,historian"), cloud.process("gateway")
    try:
        cloud.wait_ready(store)
        cloud.wait_ready(process)
        token = cloud.command("token", "create", "mes", "--role", "operator").stdout.strip()
        asked = by(token)
        trusted = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        agent, now_ns = PlayedAgent(), time.time_ns() // 1_000_000 * 1_000_000
        async with (
            grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as plain,
            line(mosquitto.url) as wire,
        ):
            program = Program(channel)
            assert (await refused(Program(plain).data.StreamSamples(StreamSamplesRequest(tags=[FORCE]), **asked)))[
                0
            ] == "UNAVAILABLE"
            begun = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
            await wire.deliver(agent, *begun, first=1)

            async def is_known() -> bool:
                stream = program.data.StreamSamples(StreamSamplesRequest(tags=[FORCE]), **asked)
                return bool((await first(stream)).tags)

            await eventually(is_known)
            stream = program.data.StreamSamples(StreamSamplesRequest(tags=[FORCE]), **asked)
            await first(stream)
            for number in range(3):
                sample = Sample("force", now_ns + number * 1_000_000, number + 0.5)
                await wire.deliver(agent, agent.samples("press", [sample]), first=agent.next - 1)
                (told,) = (await first(stream)).samples
                assert (told.time_ns, told.value.double_value) == (now_ns + number * 1_000_000, number + 0.5)
            action = Action(write=WriteTag(device="press", tag="force", value=Value(double_value=1.5)))
            command = SendCommandRequest(idempotency_key="k", agent="plant/line-1", action=action)
            unsigned = await refused(program.commands.SendCommand(command, **asked))
            assert unsigned == ("FAILED_PRECONDITION", "no_signing_key")
            process.send(signal.SIGTERM)
            assert await refused(stream) == ("UNAVAILABLE", "stopping")
        await eventually(lambda: not process.running)
        assert '"call_served"' in process.log()
    finally:
        process.stop()
        store.stop()
