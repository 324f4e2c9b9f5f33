"""Modbus/TCP Security: a unit of libmodbus behind TLS; what is not proven is not believed, and it is said why."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.child_process import free_port
from lineside.servers.throwaway_authority import IssuedCertificate, ThrowawayAuthority

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer

TAGS = [{"at": "holding 0", "writable": {"min": 0, "max": 65_535}}]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def behind_tls(
    unit: ModbusServer, authority: ThrowawayAuthority, own: IssuedCertificate, *, newest: ssl.TLSVersion
) -> AsyncIterator[str]:
    """The endpoint of ``unit`` behind a server that asks its clients for a certificate of ``authority``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = newest

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", unit.port)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port, ssl=context):
        yield f"tls://127.0.0.1:{port}"


class Plant:
    """The certificates of a plant, and of strangers."""

    def __init__(self, folder: Path) -> None:
        self.authority = ThrowawayAuthority(folder / "plant")
        self.strangers = ThrowawayAuthority(folder / "strangers")
        self.unit = self.authority.issue("unit", hosts=["127.0.0.1"])
        self.elsewhere = self.authority.issue("elsewhere", hosts=["10.9.8.7"])
        self.agent = self.authority.issue("agent")
        self.stranger = self.strangers.issue("agent")

    def files(
        self, authority: ThrowawayAuthority | None = None, own: IssuedCertificate | None = None
    ) -> dict[str, str]:
        authority, own = authority or self.authority, own or self.agent
        return {"ca_file": str(authority.certificate), "cert_file": str(own.certificate), "key_file": str(own.key)}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    return Plant(tmp_path_factory.mktemp("plant"))


def driver(endpoint: str, tls: dict[str, str], **more: Any) -> ModbusDriver:
    return ModbusDriver(device_settings(endpoint, TAGS, tls=tls, **{"timeout": "10s", **more}), SystemClock())


async def reason_of(endpoint: str, tls: dict[str, str]) -> str:
    with pytest.raises(DeviceUnavailable) as why:
        await asyncio.wait_for(driver(endpoint, tls).acquire(Recorder()), WAIT_S_MAX)
    return why.value.reason


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_unit_is_read_and_written_over_tls(
    modbus_unit: ModbusServer, plant: Plant, newest: ssl.TLSVersion
) -> None:
    modbus_unit.set("holding", 0, 7)
    recorder = Recorder()
    async with behind_tls(modbus_unit, plant.authority, plant.unit, newest=newest) as endpoint:
        it = driver(endpoint, plant.files())
        async with acquiring(it, recorder) as task:
            await polls(recorder, 3, task)
            await asyncio.wait_for(it.write(0, 8), WAIT_S_MAX)
    assert modbus_unit.get("holding", 0) == [8]
    assert recorder.of(0)[0] == (7, 0)
    assert (it.counters.connects, it.counters.time_outs) == (1, 0)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_unit_or_an_agent_that_is_not_proven_is_refused(
    modbus_unit: ModbusServer, plant: Plant, newest: ssl.TLSVersion
) -> None:
    async with behind_tls(modbus_unit, plant.authority, plant.unit, newest=newest) as endpoint:
        unknown = await reason_of(endpoint, plant.files(authority=plant.strangers))
        stranger = await reason_of(endpoint, plant.files(own=plant.stranger))
    async with behind_tls(modbus_unit, plant.authority, plant.elsewhere, newest=newest) as endpoint:
        elsewhere = await reason_of(endpoint, plant.files())
    assert "is not trusted" in unknown
    assert "check ca_file" in unknown
    assert "is not trusted" in elsewhere
    assert "names the host or the address of 'endpoint'" in elsewhere
    assert "trusts the certificate in cert_file" in stranger
    assert modbus_unit.requests() == []


async def test_a_unit_without_tls_is_not_spoken_to(modbus_unit: ModbusServer, plant: Plant) -> None:
    with pytest.raises(DeviceUnavailable):
        await asyncio.wait_for(
            driver(modbus_unit.endpoint.replace("tcp", "tls"), plant.files(), timeout="1s").acquire(Recorder()),
            WAIT_S_MAX,
        )


async def test_a_file_that_is_gone_is_named(modbus_unit: ModbusServer, plant: Plant, tmp_path: Path) -> None:
    async with behind_tls(modbus_unit, plant.authority, plant.unit, newest=ssl.TLSVersion.TLSv1_3) as endpoint:
        gone = tmp_path / "gone.pem"
        assert f"ca_file: the file '{gone}'" in await reason_of(endpoint, plant.files() | {"ca_file": str(gone)})


@pytest.mark.parametrize(
    ("endpoint", "tls", "message"),
    [
        ("tcp://oven", {}, "is not encrypted, so nothing would look at certificates"),
        ("tls://oven", {"cert_file": "own.pem"}, "it needs 'key_file' beside it"),
        ("tls://oven", {"key_file": "own.key"}, "it needs 'cert_file' beside it"),
    ],
)
def test_certificates_that_would_do_nothing_are_refused(endpoint: str, tls: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        device_settings(endpoint, TAGS, tls=tls)
