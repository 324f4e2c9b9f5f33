"""``edge-agent doctor``: what is wrong on this box and around it, and what to do. It changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, ConfigOption, JsonOption, SocketOption, socket_of
from edge_agent.cli.json_output import print_json

if TYPE_CHECKING:
    from edge_agent.cli.doctor_network import Target
    from edge_agent.cli.findings import Finding
    from edge_agent.config.models import AgentConfig

PROBLEMS_SHOWN_MAX: Final = 3


def doctor(config: ConfigOption = DEFAULT_CONFIG, socket: SocketOption = None, as_json: JsonOption = False) -> None:
    """Look for what is wrong: files, agent, network, certificates, clock, disk, permissions; say what to do.

    It changes nothing, and works whether the agent runs or not. Devices that the agent is connected with are not
    tried. Exit code 1 when something is wrong; what somebody should look at some day alone is 0.
    """
    findings = list(_findings(config, socket_of(config, socket)))
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        from rich.console import Group

        from edge_agent.cli.findings import finding_lines
        from edge_agent.cli.terminal import print_screen

        print_screen(Group(*finding_lines(findings)))
    if any(one.state == "wrong" for one in findings):
        raise typer.Exit(EXIT_PROBLEM)


def _findings(config: Path, socket: Path) -> Iterator[Finding]:
    from connectors.trust import FOLDER
    from connectors.trust.own import KEY_FILE
    from edge_agent.cli import doctor_agent, doctor_box, doctor_certificates, doctor_network
    from edge_agent.config.models import OutboxSettings
    from edge_agent.config.places import data_dir, outbox_path

    now_s = time.time()
    status, why, is_out_of_reach = _status(socket)
    settings, found = _settings(config)
    yield from doctor_box.versions(status)
    yield from found
    brokers, devices = _brokers(settings), _devices(settings, status)
    reached = asyncio.run(doctor_network.network([*brokers, *devices], now_s))
    away = doctor_network.unreachable(devices, reached[len(brokers) :])
    yield from doctor_agent.agent(status, socket, why, away, is_out_of_reach=is_out_of_reach)
    yield from chain.from_iterable(reached)
    yield from asyncio.run(doctor_network.one_place(_shared_places(settings)))
    folder = data_dir(config)
    yield from doctor_certificates.certificate_files(_certificates(settings), now_s)
    is_closed = doctor_box.is_closed(folder)
    if not is_closed:
        yield from doctor_certificates.trust_list(folder / FOLDER, now_s)
    yield from doctor_box.clock(status, now_s, doctor_box.kernel_clock_state)
    outbox = OutboxSettings() if settings is None else settings.outbox
    yield from doctor_box.disk(
        outbox_path(config).parent,
        bytes_max=outbox.bytes_max,
        free_bytes_min=outbox.free_disk_bytes_min,
        used_bytes=_used_bytes(outbox_path(config)),
        mounts=_text(Path("/proc/self/mounts")),
    )
    yield from doctor_box.commits(folder)
    keys = [] if settings is None or settings.uplink.key_file is None else [settings.uplink.key_file]
    own_key = [] if is_closed else [folder / FOLDER / KEY_FILE]
    yield from doctor_box.permissions(config, folder, [*keys, *own_key], os.geteuid())


def _status(socket: Path) -> tuple[dict[str, Any] | None, str, bool]:
    """What the agent says, or why it says nothing, and whether that is for want of permission."""
    from connectors.model.errors import LinesideError
    from edge_agent.local_api.protocol import AgentOutOfReach, call

    try:
        return asyncio.run(call(socket, "status")), "", False
    except LinesideError as exc:
        return None, str(exc), isinstance(exc, AgentOutOfReach)


def _settings(config: Path) -> tuple[AgentConfig | None, list[Finding]]:
    from connectors.configuration.setting_names import counted, listed
    from connectors.model.errors import ConfigInvalid
    from edge_agent.cli.findings import Finding
    from edge_agent.config.load import load_config
    from edge_agent.drivers import known_drivers

    unseen: set[str] = set()
    try:
        settings = load_config(config, known_drivers(), files_checked=True, unseen=unseen.add)
    except ConfigInvalid as exc:
        shown = [Finding("config", "wrong", str(problem)) for problem in exc.problems[:PROBLEMS_SHOWN_MAX]]
        more = len(exc.problems) - len(shown)
        if more > 0:
            shown.append(Finding("config", "wrong", f"{counted(more, 'more problem')}", "edge-agent check"))
        return None, shown
    tags = sum(len(device.tags) + len(device.derived) for device in settings.devices)
    said = f"{config} is valid: {counted(len(settings.devices), 'device')} with {counted(tags, 'tag')}"
    if unseen:
        said += f"; not looked at, as the service alone has them: {listed(map(repr, sorted(unseen)), 'and')}"
    return settings, [Finding("config", "ok", said)]


def _brokers(settings: AgentConfig | None) -> list[Target]:
    from connectors.configuration.tls_files import TlsFileUnusable, client_context
    from edge_agent.cli.doctor_network import Target

    if settings is None:
        return []
    uplink, tls = settings.uplink, None
    if any(url.startswith("mqtts") for url in uplink.brokers):
        with contextlib.suppress(TlsFileUnusable):  # 'check' and the certificates say so
            tls = client_context(uplink.ca_file, uplink.cert_file, uplink.key_file)
    return [Target(("broker",), url, tls=tls if url.startswith("mqtts") else None) for url in uplink.brokers]


def _devices(settings: AgentConfig | None, status: dict[str, Any] | None) -> list[Target]:
    """All places where devices are, each once: many units are behind one gateway, which may take one connection."""
    from edge_agent.cli.doctor_network import Target

    devices = () if settings is None else settings.devices
    online = set() if status is None else {device["device"] for device in status["devices"] if device["online"]}
    found: dict[str, tuple[str, list[str]]] = {}
    for device in devices:
        for endpoint in device.endpoints:
            place = device.shared_way[0] if device.shared_way is not None else endpoint
            found.setdefault(place, (endpoint, []))[1].append(device.name)
    return [
        Target(tuple(names), endpoint, tuple(name for name in names if name in online))
        for endpoint, names in found.values()
    ]


def _shared_places(settings: AgentConfig | None) -> dict[str, list[str]]:
    """The devices that share connections, by their places as they are written."""
    found: dict[str, list[str]] = {}
    for device in () if settings is None else settings.devices:
        if device.shared_way is not None:
            found.setdefault(device.shared_way[0], []).append(device.name)
    return found


def _certificates(settings: AgentConfig | None) -> dict[str, Path]:
    if settings is None:
        return {}
    uplink = settings.uplink
    named = {"ca_file of the uplink": uplink.ca_file, "cert_file of the uplink": uplink.cert_file}
    return {name: path for name, path in named.items() if path is not None}


def _used_bytes(outbox: Path) -> int:
    try:
        return sum(file.stat().st_size for file in outbox.parent.glob(f"{outbox.name}*"))
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
