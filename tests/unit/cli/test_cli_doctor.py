"""What the doctor finds on a box, each with what to do; and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.child_process import free_port
from lineside.servers.throwaway_authority import ThrowawayAuthority
from rich.console import Console, Group
from typer.testing import CliRunner

from connectors.observability.version import lineside_version
from edge_agent.cli import doctor_agent, doctor_box, doctor_certificates
from edge_agent.cli.app import whole_app
from edge_agent.cli.doctor_network import Target, network, one_place, unreachable
from edge_agent.cli.findings import Finding, finding_lines

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0
PRESS = {"device": "press", "online": True, "unborn": "", "bad": 0, "reason": ""}
LOCK = {"line": "press", "actor": "mia", "reason": "mould"}
STATUS: dict[str, Any] = {
    "agent": "plant/line", "version": lineside_version(), "waiting_for_outbox": "", "configuration": None,
    "devices": [PRESS],
    "uplink": {"phase": "born", "reason": "", "unanswered": False, "broker": "mqtts://b", "clock_error_s": 0.1},
    "outbox": {"samples": 0, "blocked": "", "refuses_samples": False, "set_aside": []},
    "commands": {"locks": [], "problem": ""},
}  # fmt: skip


def one(findings: Iterable[Finding]) -> Finding:
    (found,) = findings
    return found


def states(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(found.area, found.state) for found in findings]


def status(**changes: Any) -> dict[str, Any]:
    parts = {
        name: {**(STATUS[name] or {}), **value} if isinstance(value, dict) else value for name, value in changes.items()
    }
    return {**STATUS, **parts}


# ---------------------------------------------------------------------------------------------------------------------


def test_a_well_agent_is_well() -> None:
    assert states(doctor_agent.agent(STATUS, Path("s"), "")) == [("agent", "ok"), ("uplink", "ok")]


@pytest.mark.parametrize(
    ("changes", "area", "state", "said"),
    [
        ({"waiting_for_outbox": "no disk"}, "agent", "wrong", "no disk"),
        ({"devices": [{**PRESS, "online": False, "reason": "refused"}]}, "devices", "wrong", "press: refused"),
        ({"devices": [{**PRESS, "unborn": "too large"}]}, "devices", "wrong", "too large"),
        ({"devices": [{**PRESS, "bad": 3}]}, "devices", "look", "3 tags"),
        ({"uplink": {"phase": "connecting", "reason": "no route"}}, "uplink", "wrong", "no route"),
        ({"uplink": {"unanswered": True}}, "uplink", "wrong", "nothing is acknowledged"),
        ({"outbox": {"blocked": "full"}}, "outbox", "wrong", "full"),
        ({"outbox": {"refuses_samples": True}}, "outbox", "wrong", "given up"),
        ({"outbox": {"set_aside": ["outbox.db.damaged"]}}, "outbox", "look", "outbox.db.damaged"),
        ({"commands": {"problem": "no journal"}}, "commands", "wrong", "no journal"),
        ({"commands": {"locks": [LOCK]}}, "commands", "look", "mia: mould"),
        ({"configuration": {"state": "failed"}}, "config", "wrong", "cannot be used"),
        ({"configuration": {"state": "out_of_sync"}}, "config", "look", "not what the agent runs with"),
    ],
)  # fmt: skip
def test_what_the_agent_says_of_itself_is_found(changes: dict[str, Any], area: str, state: str, said: str) -> None:
    found = [one for one in doctor_agent.agent(status(**changes), Path("s"), "") if one.state != "ok"]
    assert [(one.area, one.state) for one in found] == [(area, state)]
    assert said in found[0].said


def test_an_agent_that_may_not_be_asked_is_not_said_to_be_down() -> None:
    found = one(doctor_agent.agent(None, Path("agent.sock"), "you may not open agent.sock", is_out_of_reach=True))
    assert (found.state, found.said) == ("look", "you may not open agent.sock")
    assert "start it" not in found.todo


def test_a_device_that_cannot_be_reached_is_named_once() -> None:
    robot, mill = (
        {**PRESS, "device": name, "online": False, "reason": f"{name}: refused"} for name in ("robot", "mill")
    )
    here = Target(("press",), "tcp://press"), Target(("robot",), "tcp://robot"), Target(("mill",), "tcp://mill")
    also = Target(("mill",), "tcp://mill-2")
    wrong, ok = [Finding("network", "wrong", "refuses")], [Finding("network", "ok", "can be reached")]
    away = unreachable([*here, also], [ok, wrong, wrong, ok])
    assert away == {"robot"}
    found = doctor_agent.agent(status(devices=[PRESS, robot, mill]), Path("s"), "", away)
    assert [one.said for one in found if one.area == "devices"] == ["mill: refused"]


def test_an_agent_that_does_not_run_is_wrong_and_how_to_start_it_is_said() -> None:
    found = one(doctor_agent.agent(None, Path("agent.sock"), ""))
    assert (found.state, "systemctl start" in found.todo, "agent.sock" in found.said) == ("wrong", True, True)


def test_an_agent_of_another_release_is_to_be_looked_at() -> None:
    assert one(doctor_box.versions(STATUS)).state == "ok"
    assert one(doctor_box.versions({**STATUS, "version": "0.0.7"})).state == "look"


@pytest.mark.parametrize(
    ("now_s", "error_s", "kernel", "state"),
    [
        (NOW_S, 0.1, 0, "ok"),
        (NOW_S, None, -1, "ok"),
        (NOW_S, None, doctor_box.UNSYNCHRONISED, "look"),
        (NOW_S, -75.0, 0, "wrong"),
        (5 * DAY_S, None, 0, "wrong"),
    ],
)
def test_a_clock_is_judged_by_the_host_the_kernel_and_the_year(
    now_s: float, error_s: float | None, kernel: int, state: str
) -> None:
    said = status(uplink={"clock_error_s": error_s})
    assert one(doctor_box.clock(said, now_s, lambda: kernel)).state == state
    assert isinstance(doctor_box.kernel_clock_state(), int)


# ---------------------------------------------------------------------------------------------------------------------


def looked_at(folder: Path, **changes: Any) -> list[Finding]:
    asked = {"bytes_max": 1, "free_bytes_min": 0, "used_bytes": 0, "mounts": ""} | changes
    return list(doctor_box.disk(folder, **asked))


def test_a_disk_with_room_is_well_and_one_without_is_not(tmp_path: Path) -> None:
    assert states(looked_at(tmp_path / "not" / "there")) == [("disk", "ok")]
    assert "free_disk_min" in one(looked_at(tmp_path, free_bytes_min=1 << 60)).todo
    found = one(looked_at(tmp_path, bytes_max=1 << 60))
    assert (found.state, "size_max" in found.said) == ("look", True)


@pytest.mark.parametrize(("kind", "said"), [("tmpfs", "power cut"), ("nfs4", "another machine")])
def test_an_outbox_in_memory_or_on_another_machine_is_wrong(tmp_path: Path, kind: str, said: str) -> None:
    mounts = f"proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\nx {tmp_path} {kind} rw 0 0\n"
    wrong = [found for found in looked_at(tmp_path / "data", mounts=mounts) if found.state == "wrong"]
    assert said in one(wrong).said
    assert one(looked_at(tmp_path.parent, mounts=mounts)).state == "ok"


def test_a_commit_is_tried_where_it_may_be(tmp_path: Path) -> None:
    assert "ms" in one(doctor_box.commits(tmp_path)).said
    assert list(tmp_path.iterdir()) == []


def test_what_others_may_read_or_change_is_wrong(tmp_path: Path) -> None:
    config, key, folder = tmp_path / "agent.yaml", tmp_path / "own.key", tmp_path / "data"
    folder.mkdir(mode=0o700)
    config.write_text("")
    config.chmod(0o644)
    key.write_text("")
    key.chmod(0o600)
    me = os.geteuid()
    assert states(doctor_box.permissions(config, folder, [key, tmp_path / "none"], me)) == [("permissions", "ok")]
    key.chmod(0o644)
    config.chmod(0o666)
    folder.chmod(0o777)
    found = list(doctor_box.permissions(config, folder, [key], me))
    assert [one.state for one in found] == ["wrong"] * 3
    assert [one.todo.split()[0] for one in found] == ["chmod"] * 3
    config.chmod(0o600)
    assert one(doctor_box.permissions(config, tmp_path / "later", [], me)).state == "look"
    assert "sudo -u" in one(doctor_box.permissions(config, tmp_path, [], me + 4711)).todo


# ---------------------------------------------------------------------------------------------------------------------


def test_certificates_are_told_of_before_they_expire(tmp_path: Path) -> None:
    issued = ThrowawayAuthority(tmp_path).issue("plant/line")  # for 30 days

    def at(days: float) -> Finding:
        begun_s = issued.certificate.stat().st_mtime
        return one(doctor_certificates.certificate_files({"cert_file": issued.certificate}, begun_s + days * DAY_S))

    assert (at(-30).state, at(1).state, at(31).state) == ("wrong", "look", "wrong")
    assert "holds only in" in at(-30).said
    assert "expired 24.0 h ago" in at(31).said
    assert doctor_certificates.validity("it", 0, 400 * DAY_S, 0.5, "renew") == Finding(
        "certificates", "ok", "it holds for 400.0 d"
    )
    broken = one(doctor_certificates.certificate_files({"ca_file": issued.key}, NOW_S))
    assert (broken.state, "holds no certificate" in broken.said) == ("wrong", True)


async def test_what_cannot_be_reached_says_why_and_what_is_connected_is_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        found = await network(
            [
                Target(("press",), f"opc.tcp://127.0.0.1:{port}"),
                Target(("oven", "kiln", "dryer", "mixer", "hood"), f"tcp://127.0.0.1:{free_port()}"),
                Target(("robot", "cell"), f"tcp://127.0.0.1:{free_port()}", connected=("cell",)),
                Target(("mill",), "opc.tcp://no-such-host.invalid:4840"),
                Target(("line",), f"serial://{tmp_path}/ttyUSB9"),
            ],
            NOW_S,
        )
    found = [one(findings) for findings in found]
    assert [one.state for one in found] == ["ok", "wrong", "ok", "wrong", "wrong"]
    assert "oven, kiln and 3 other devices: 127.0.0.1:" in found[1].said
    assert "refuses the connection" in found[1].said
    assert found[2].said.startswith("cell is connected: tcp://127.0.0.1:")
    assert "no-such-host.invalid" in found[3].said
    assert "plugged in" in found[4].todo


async def test_places_that_are_one_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    port, adapter = tmp_path / "ttyUSB0", tmp_path / "by-id"
    port.touch()
    adapter.symlink_to(port)
    said = await one_place(
        {
            "localhost:502": ["oven", "kiln"],
            "10.0.0.5:502": ["press"],
            str(adapter): ["meter"],
            "127.0.0.1:502": ["mixer"],
            "127.0.0.1:503": ["other"],
            "no-such-host.invalid:502": ["nobody"],
            str(port): ["pump"],
        }
    )
    assert [(found.area, found.state) for found in said] == [("network", "look")] * 2
    first = "localhost:502 and 127.0.0.1:502 are one place (127.0.0.1:502), to which oven, kiln and mixer have 2"
    assert said[0].said == f"{first} connections"
    assert said[1].said.startswith(f"{adapter} and {port} are one place ({port}), to which meter and pump have")
    assert "write the same 'endpoint'" in said[0].todo
    assert await one_place({"localhost:502": ["oven", "kiln"]}) == []


async def test_a_server_by_tls_says_until_when_its_certificate_holds_and_one_that_does_not_count_is_wrong(
    tmp_path: Path,
) -> None:
    authority = ThrowawayAuthority(tmp_path)
    issued = authority.issue("broker", hosts=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"mqtts://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        known = ssl.create_default_context(cafile=authority.certificate)
        (found,) = await network([Target(("broker",), url, tls=known)], issued.certificate.stat().st_mtime)
        assert [one.state for one in found] == ["ok", "look"]
        assert "of broker expires in" in found[1].said
        ((wrong,),) = await network([Target(("broker",), url, tls=ssl.create_default_context())], NOW_S)
        assert (wrong.state, "ca_file" in wrong.todo) == ("wrong", True)


async def test_a_broker_without_tls_or_with_another_name_is_said_with_what_to_write(tmp_path: Path) -> None:
    authority = ThrowawayAuthority(tmp_path)
    issued = authority.issue("broker", hosts=["broker.example"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    known = ssl.create_default_context(cafile=authority.certificate)

    async def found(served_by: ssl.SSLContext | None) -> Finding:
        server = await asyncio.start_server(_reset, "127.0.0.1", 0, ssl=served_by)
        async with server:
            url = f"mqtts://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return one(one(await network([Target(("broker",), url, tls=known)], NOW_S)))

    other_name, plain = await found(context), await found(None)
    assert "not valid for '127.0.0.1'" in other_name.said
    assert "uplink.brokers" in other_name.todo
    assert "closes the connection instead of speaking TLS" in plain.said
    assert "mqtt://" in plain.todo


async def _reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End a connection as a server does that cannot read what comes."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def test_the_screen_says_what_to_do_and_sums_up() -> None:
    findings = [
        Finding("clock", "ok", "12:00"),
        Finding("disk", "look", "small", "make room"),
        Finding("agent", "wrong", "gone"),
    ]
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(Group(*finding_lines(findings)))
    assert out.getvalue().splitlines() == [
        "ok    clock         12:00",
        "LOOK  disk          small",
        "                  → make room",
        "WRONG agent         gone",
        "",
        "1 wrong, 1 thing to look at",
    ]


def test_without_an_agent_the_whole_look_is_made_and_an_invalid_file_is_part_of_it(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(
        "agent: {group: plant, name: line, data_dir: data}\n"
        f"uplink: {{brokers: ['mqtt://127.0.0.1:{free_port()}'], insecure: true}}\n"
    )
    said = CliRunner().invoke(whole_app(), ["doctor", "--json", "-c", str(config)])
    found = {one["area"]: one for one in reversed(json.loads(said.stdout))}
    assert said.exit_code == 1
    assert {"versions", "config", "agent", "network", "clock", "disk", "permissions"} <= set(found)
    assert (found["config"]["state"], found["agent"]["state"], found["network"]["state"]) == ("ok", "wrong", "wrong")
    port = free_port()
    units = [f"{{name: u{at}, driver: modbus, endpoint: 'tcp://127.0.0.1:{port}', unit_id: {at}" for at in (1, 2)]
    tags = ", tags: [{name: t, at: holding 0}]}"
    config.write_text(config.read_text() + "devices:\n" + "".join(f"  - {unit}{tags}\n" for unit in units))
    said = CliRunner().invoke(whole_app(), ["doctor", "--json", "-c", str(config)])
    network_said = [one["said"] for one in json.loads(said.stdout) if one["area"] == "network"][1:]
    assert network_said == [f"u1 and u2: 127.0.0.1:{port} refuses the connection"]
    config.write_text(config.read_text() + "outbocks: {}\n")
    said = CliRunner().invoke(whole_app(), ["doctor", "-c", str(config)])
    assert said.exit_code == 1
    assert "agent.yaml:6:1: unknown key 'outbocks'" in said.stdout
