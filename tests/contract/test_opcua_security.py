"""Sessions that are signed and encrypted, with a server of node-opcua: policies, certificates, users."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua.client.client import Client
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors.model.errors import DeviceUnavailable
from connectors.opcua import opening, securing
from connectors.opcua.driver import OpcUaDriver
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import SystemClock
from connectors.ports.settings import AgentPlace
from connectors.trust import FOLDER
from connectors.trust.certificates import der_of
from connectors.trust.own import OwnCertificate, own_certificate
from connectors.trust.store import TrustStore
from tests.contract.opcua_acquisition import Recorder, acquiring, device, until
from tests.patience import WAIT_S_MAX
from tests.servers.node_opcua import URI, NodeOpcUaServer
from tests.unit.trust.made_certificates import authority, issued, key, pem, revocations

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
MODES = ("Sign", "SignAndEncrypt")
AGENT = "plant/line-3"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the agent, with its own key and certificate."""
    folder = tmp_path_factory.mktemp("data")
    own_certificate(folder / FOLDER, AGENT)
    return folder


@pytest.fixture(scope="module")
def own(data_dir: Path) -> OwnCertificate:
    return own_certificate(data_dir / FOLDER, AGENT)


@pytest.fixture(scope="module")
def server(own: OwnCertificate) -> Iterator[NodeOpcUaServer]:
    """One with all policies but None, which trusts the agent's certificate, and knows a user."""
    running = NodeOpcUaServer(policies=POLICIES, modes=MODES, users={"operator": "open sesame"})
    running.start()
    try:
        running.add("ns=2;s=force", "Double", 12.5)
        trust(running, own)
        yield running
    finally:
        running.close()


def trust(server: NodeOpcUaServer, own: OwnCertificate) -> None:
    """Have the server accept the certificate of an application or a user."""
    server.command("trust", certificate=base64.b64encode(der_of(own.certificate)).decode())


def secured(server: NodeOpcUaServer, data_dir: Path, **security: Any) -> OpcUaDevice:
    made = device(server.endpoint, [{"at": "ns=2;s=force"}], insecure=False, security=security, timeout="5s")
    return made.placed(AgentPlace(AGENT, data_dir))


async def refusal(device: OpcUaDevice) -> str:
    with pytest.raises(DeviceUnavailable) as caught:
        await OpcUaDriver(device, SystemClock()).acquire(Recorder())
    return caught.value.reason


async def works(device: OpcUaDevice) -> None:
    recorder = Recorder()
    async with acquiring(OpcUaDriver(device, SystemClock()), recorder) as task:
        await until(lambda: recorder.last() == {0: 12.5}, task)


async def accept(server: NodeOpcUaServer, data_dir: Path) -> str:
    """Have the server's certificate accepted, as the message says it; its thumbprint."""
    reason = await refusal(secured(server, data_dir))
    thumbprint = reason.rsplit(" ", 1)[1]
    TrustStore(data_dir / FOLDER).accept(thumbprint)
    return thumbprint


@pytest.fixture(scope="module")
def accepted(server: NodeOpcUaServer, data_dir: Path) -> str:
    return asyncio.run(accept(server, data_dir))


async def test_a_new_server_is_refused_until_a_person_accepts_it(server: NodeOpcUaServer, tmp_path: Path) -> None:
    own = own_certificate(tmp_path / FOLDER, AGENT)
    trust(server, own)
    made = secured(server, tmp_path)
    reason = await refusal(made)
    (entry,) = TrustStore(tmp_path / FOLDER).entries()
    assert f"the server's certificate {entry.facts.thumbprint}" in reason
    assert "is not accepted yet" in reason
    assert reason.endswith(f"edge-agent trust accept {entry.facts.thumbprint}")
    assert [(each.device, each.endpoint) for each in entry.servers] == [("press", server.endpoint)]
    assert server.sessions == 0
    TrustStore(tmp_path / FOLDER).accept(entry.facts.thumbprint)
    await works(made)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
async def test_every_policy_works_signed_and_encrypted(
    server: NodeOpcUaServer, data_dir: Path, accepted: str, policy: str, mode: str
) -> None:
    del accepted
    await works(secured(server, data_dir, policy=policy, mode=mode))


async def test_a_session_outlives_the_tokens_of_its_secure_channel(
    data_dir: Path, own: OwnCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CHANNEL_RENEWAL", 0.3)  # a machine may be busy for longer than a short life has left
    hasty = NodeOpcUaServer(policies=("None", *POLICIES), modes=("None", *MODES), channel_ms=4000)
    hasty.start()
    recorders: list[Recorder] = []
    try:
        hasty.add("ns=2;s=force", "Double", 12.5)
        trust(hasty, own)
        await accept(hasty, data_dir)
        async with contextlib.AsyncExitStack() as sessions:
            tasks = []
            for made in (
                device(hasty.endpoint, [{"at": "ns=2;s=force"}], timeout="5s"),
                *(secured(hasty, data_dir, policy=policy) for policy in POLICIES),
            ):
                recorders.append(Recorder())
                driver = OpcUaDriver(made, SystemClock())
                tasks.append(await sessions.enter_async_context(acquiring(driver, recorders[-1])))
            for value in range(1, 161):  # two lifetimes: the server ends a channel whose token was not renewed
                await asyncio.sleep(0.05)
                hasty.set("ns=2;s=force", "Double", value)
                assert [task.exception() for task in tasks if task.done()] == []
            for recorder, task in zip(recorders, tasks, strict=True):
                await until(lambda recorder=recorder: recorder.last() == {0: 160}, task)  # type: ignore[misc]
        assert [len(recorder.onlines) for recorder in recorders] == [1] * 4
    finally:
        hasty.close()


async def test_a_renewal_that_comes_late_ends_no_session(
    data_dir: Path, own: OwnCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CHANNEL_RENEWAL", 1.01)  # of a token that has expired; the server waits until 1.25
    hasty = NodeOpcUaServer(policies=POLICIES, modes=MODES, channel_ms=6000)
    hasty.start()
    recorder = Recorder()
    try:
        hasty.add("ns=2;s=force", "Double", 12.5)
        trust(hasty, own)
        await accept(hasty, data_dir)
        async with acquiring(OpcUaDriver(secured(hasty, data_dir), SystemClock()), recorder) as task:
            for value in range(1, 261):  # two renewals
                await asyncio.sleep(0.05)
                hasty.set("ns=2;s=force", "Double", value)
                assert not task.done(), task.exception()
            await until(lambda: recorder.last() == {0: 260}, task)
        assert len(recorder.onlines) == 1
    finally:
        hasty.close()


async def test_what_an_authority_has_issued_counts_without_being_accepted_until_it_is_revoked(tmp_path: Path) -> None:
    long = (-2000, 2000)
    plant = authority(days=long)
    press = issued(issuer=plant, uri=URI, hosts=("127.0.0.1",), days=long)
    files = {
        "press.pem": pem(press), "plant.pem": pem(plant), "another.pem": pem(authority("another", days=long)),
        "none.crl": pem(revocations(issuer=plant)), "press.crl": pem(revocations(press.serial_number, issuer=plant)),
        "press.key": key("press").private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    own = own_certificate(tmp_path / FOLDER, AGENT)
    issued_by = NodeOpcUaServer(
        policies=POLICIES, modes=MODES, own=[str(tmp_path / "press.pem"), str(tmp_path / "press.key")]
    )
    issued_by.start()
    try:
        issued_by.add("ns=2;s=force", "Double", 12.5)
        trust(issued_by, own)

        def trusting(*names: str) -> OpcUaDevice:
            return secured(issued_by, tmp_path, trust={"issuers": [str(tmp_path / name) for name in names]})

        await works(trusting("plant.pem", "none.crl"))
        assert "revoked" in await refusal(trusting("plant.pem", "press.crl"))
        assert "is not accepted yet" in await refusal(trusting("another.pem"))
    finally:
        issued_by.close()


async def test_without_a_policy_it_is_the_strongest(
    server: NodeOpcUaServer, data_dir: Path, accepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del accepted
    chosen = []
    original = securing.choose
    monkeypatch.setattr(securing, "choose", lambda *args: chosen.append(original(*args)) or chosen[-1])
    await works(secured(server, data_dir))
    assert [(each.policy, each.mode.name) for each in chosen] == [("Aes256_Sha256_RsaPss", "SignAndEncrypt")]


async def test_a_session_ends_when_its_certificate_is_rejected(
    server: NodeOpcUaServer, data_dir: Path, accepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(securing, "TRUST_CHECK_S", 0.05)
    store, recorder = TrustStore(data_dir / FOLDER), Recorder()
    working = asyncio.create_task(OpcUaDriver(secured(server, data_dir), SystemClock()).acquire(recorder))
    await until(lambda: recorder.last() == {0: 12.5}, working)
    store.reject(accepted)
    try:
        with pytest.raises(DeviceUnavailable, match=f"edge-agent trust accept {accepted}"):
            await asyncio.wait_for(working, WAIT_S_MAX)
    finally:
        store.accept(accepted)


async def test_a_server_that_has_not_accepted_the_agent_is_said_with_what_to_do(
    server: NodeOpcUaServer, accepted: str, tmp_path: Path
) -> None:
    unknown = secured(server, tmp_path)
    await accept(server, tmp_path)
    reason = await refusal(unknown)
    assert "has not accepted this agent's certificate" in reason
    assert "edge-agent trust own" in reason
    del accepted


async def test_a_weaker_choice_by_somebody_between_is_seen(
    server: NodeOpcUaServer, data_dir: Path, accepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Client.get_endpoints

    async def filtered(client: Client) -> Any:
        return [each for each in await original(client) if "Basic256Sha256" in each.SecurityPolicyUri]

    monkeypatch.setattr(Client, "get_endpoints", filtered)
    reason = await refusal(secured(server, data_dir))
    assert "the server offers Aes256_Sha256_RsaPss" in reason
    assert "somebody may be between" in reason
    await works(secured(server, data_dir, policy="Basic256Sha256"))  # what a person has written is meant
    del accepted


async def test_what_a_server_does_not_offer_is_never_replaced(node_opcua: NodeOpcUaServer, data_dir: Path) -> None:
    for security in ({}, {"policy": "Basic256Sha256"}):
        reason = await refusal(secured(node_opcua, data_dir, **security))
        assert "it offers None" in reason
        assert "Turn on a security policy there" in reason
    assert node_opcua.sessions == 0


async def test_a_user_is_let_in_with_the_right_password_alone(
    server: NodeOpcUaServer, data_dir: Path, accepted: str
) -> None:
    await works(secured(server, data_dir, user="operator", password="${env:PRESS}"))
    await works(secured(server, data_dir, user="operator", password="${env:PRESS}", mode="Sign"))
    reason = await refusal(secured(server, data_dir, user="operator", password="${env:GUESS}"))
    assert "the server refused the user; check security.user and security.password" in reason
    del accepted


async def test_a_user_shows_a_certificate(
    server: NodeOpcUaServer, data_dir: Path, accepted: str, tmp_path: Path
) -> None:
    user, stranger = (own_certificate(tmp_path / name, f"people/{name}") for name in ("user", "stranger"))
    trust(server, user)
    files = {"user_certificate": str(tmp_path / "user" / "own.der"), "user_key": str(tmp_path / "user" / "own.key")}
    for policy in POLICIES:
        await works(secured(server, data_dir, policy=policy, **files))
    unknown = {key: path.replace("/user/", "/stranger/") for key, path in files.items()}
    assert "the server refused the user" in await refusal(secured(server, data_dir, **unknown))
    del accepted, stranger


async def test_a_password_is_hidden_in_a_session_without_security_only_for_a_server_that_is_accepted(
    tmp_path: Path,
) -> None:
    door = NodeOpcUaServer(
        policies=("None", "Basic256Sha256"), modes=("None", "SignAndEncrypt"), anonymous=False,
        users={"operator": "open sesame"},
    )  # fmt: skip
    door.start()
    try:
        door.add("ns=2;s=force", "Double", 12.5)
        user = {"user": "operator", "password": "${env:PRESS}"}
        tags = [{"at": "ns=2;s=force"}]
        plain = device(door.endpoint, tags, security=user).placed(AgentPlace(AGENT, tmp_path))
        assert "is not accepted yet" in await refusal(plain)
        TrustStore(tmp_path / FOLDER).accept(TrustStore(tmp_path / FOLDER).entries()[0].facts.thumbprint)
        await works(plain)
        nobody = device(door.endpoint, tags).placed(AgentPlace(AGENT, tmp_path))
        reason = await refusal(nobody)
        assert "does not let in nobody in particular here" in reason
        assert "name security.user and security.password" in reason
        door.options["pki"] = str(tmp_path / "another")  # as when somebody has set the server up anew, or is another
        door.kill()
        door.start()
        assert "has changed: before, it was" in await refusal(plain)
    finally:
        door.close()
