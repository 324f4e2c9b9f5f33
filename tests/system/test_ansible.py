"""The playbook of ``ansible/`` with its example inventory: a real agent on a box under a temporary root.

Without systemd, which a test cannot count on (``lineside_service: command``), and without a package index.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from stat import filemode
from typing import Any, Final, NamedTuple

import pytest
import yaml
from lineside.servers.throwaway_authority import ThrowawayAuthority

from tests.system.edge_agent_steps import edge_agent
from tests.system.packed_wheels import PROJECT, pack_dependencies, wheel_that_does_not_start

ANSIBLE: Final = PROJECT / "ansible"
LINE: Final = "line-4.plant-7.example"
CLOUD: Final = "ingest.cloud.example"
AGENT_S_MAX: Final = 110
"""An agent that a broken test leaves behind ends by itself."""
RESTART: Final = """#!/bin/sh
# What a box without systemd has for restarting the agent: returns when the old one has ended.
cd "$(dirname "$0")"
if [ -f pid ]; then kill "$(cat pid)"; while kill -0 "$(cat pid)"; do sleep 0.05; done; fi 2>/dev/null
CREDENTIALS_DIRECTORY=etc/secrets timeout {seconds} bin/edge-agent run -c etc/agent.yaml </dev/null >>log 2>&1 &
echo $! >pid
"""


class Ran(NamedTuple):
    """What one run of the playbook has said."""

    code: int
    out: str

    @property
    def changed(self) -> int:
        """How many tasks have changed something."""
        (count,) = re.findall(r"^line-4\S+ .*changed=(\d+)", self.out, re.MULTILINE)
        return int(count)


class Box:
    """A folder that stands for the file system of a box, and the controller's inventory beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "inventory"
        self.devices = self.inventory / "devices"
        self.built_wheel = folder / "lineside-0.0.0-py3-none-any.whl"
        for name in ("units", "bin"):
            (folder / name).mkdir()
        restart = folder / "restart"
        restart.write_text(RESTART.format(seconds=AGENT_S_MAX))
        restart.chmod(0o755)
        pack_dependencies("edge", folder / "wheels")
        self._copy_example()

    def run(self, *words: str, **variables: Any) -> Ran:
        """Run the playbook on the box; ``variables`` come before those of the inventory."""
        playbook = ("ansible-playbook", str(ANSIBLE / "site.yml"), "--limit", LINE)
        return self.ansible(*playbook, "--extra-vars", json.dumps({**self._variables(), **variables}), *words)

    def ansible(self, program: str, *words: str) -> Ran:
        """One of Ansible's own commands, with this inventory."""
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "ansible" / "remote"),
            "LC_ALL": "C.UTF-8",
            "PIP_COMPILE": "0",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of "build isolation"
            "PIP_NO_INDEX": "1",
        }
        command = [Path(sys.executable).with_name(program), "-i", self.inventory / "hosts.yml", *words]
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        return Ran(done.returncode, done.stdout + done.stderr)

    def agent(self) -> int:
        """The process of the agent."""
        return int((self.folder / "pid").read_text())

    def in_use(self) -> dict[str, str]:
        """What the links of software and configuration lead to."""
        return {name: str((self.folder / name).readlink()) for name in ("opt/.venv", "etc/current")}

    def stop(self) -> None:
        """End the agent, if there is one."""
        if (self.folder / "pid").exists():
            subprocess.run(["sh", "-c", 'kill "$0"; while kill -0 "$0"; do sleep 0.05; done', str(self.agent())],
                           stderr=subprocess.DEVNULL, timeout=30, check=False)  # fmt: skip

    def _copy_example(self) -> None:
        """The example inventory; its broker and machines are here, where nothing answers, and it gets certificates."""
        shutil.copytree(ANSIBLE / "inventory" / "example", self.inventory)
        for path in self.inventory.rglob("*.y*ml"):
            text = re.sub(r"(mqtts|opc\.tcp)://[a-z0-9.-]+:\d+", r"\1://127.0.0.1:1", path.read_text(encoding="utf-8"))
            path.write_text(text.replace("10.0.1.5", "127.0.0.1"), encoding="utf-8")
        certificates = self.inventory / "certificates"
        authority = ThrowawayAuthority(certificates)
        authority.issue(LINE)
        for name in ("plant-ca.pem", "brokers.pem", "postgres.pem"):
            shutil.copy(authority.certificate, certificates / name)

    def _variables(self) -> dict[str, Any]:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        return {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "lineside_python": sys.executable,
            "lineside_user": user,
            "lineside_group": group,
            "lineside_owner": user,
            "lineside_create_user": False,
            "lineside_service": "command",
            "lineside_restart_command": [str(self.folder / "restart")],
            "lineside_unit_dir": str(self.folder / "units"),
            "lineside_command_dir": str(self.folder / "bin"),
            "lineside_build_dir": str(self.folder / "build"),
            "lineside_wheels": str(self.folder / "wheels"),
            "lineside_wheel": str(next(self.folder.glob("lineside-*.whl"), "")),
            "edge_agent_install_dir": str(self.folder / "opt"),
            "edge_agent_config_dir": str(self.folder / "etc"),
            "edge_agent_data_dir": str(self.folder / "data"),
            "edge_agent_steady_s": 0,
            "vault_press_password": "a secret",
        }


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box on which the agent runs; a test leaves it so. The wheel is built once, from what is checked out."""
    box = Box(tmp_path_factory.mktemp("a"))  # short: the path of a socket has at most 107 bytes
    try:
        ran = box.run()
        assert ran.code == 0, ran.out
        (wheel,) = (box.folder / "build" / "lineside").glob("lineside-*.whl")
        shutil.copy(wheel, box.folder)
        yield box
    finally:
        box.stop()


def test_the_first_run_puts_everything_in_its_place_and_starts_the_agent(box: Box) -> None:
    status = edge_agent(box.folder / "etc" / "agent.yaml", "status", "--json").json
    assert status["agent"] == "plant-7/line-4"
    assert sorted(device["device"] for device in status["devices"]) == ["oven", "press"]
    modes = {str(path.relative_to(box.folder / "etc/current")): filemode(path.lstat().st_mode)
             for path in (box.folder / "etc/current/").rglob("*")}  # fmt: skip
    assert modes == {
        "agent.yaml": "-rw-r-----",
        "service.conf": "-rw-r-----",
        "certificates": "drwxr-x---",
        "certificates/agent.key": "-rw-r-----",
        "certificates/agent.pem": "-rw-r-----",
        "certificates/plant-ca.pem": "-rw-r-----",
        "devices": "drwxr-x---",
        "devices/oven.yaml": "-rw-r-----",
        "devices/press.yaml": "-rw-r-----",
        "secrets": "drwx------",
        "secrets/press": "-rw-------",
    }
    assert (box.folder / "etc/devices/press.yaml").read_bytes() == (box.devices / "press.yaml").read_bytes()
    assert "endpoint: tcp://127.0.0.1:502" in (box.folder / "etc/devices/oven.yaml").read_text()
    unit = (box.folder / "units/edge-agent.service").read_text()
    assert f"ExecStart={box.folder}/opt/.venv/bin/edge-agent run -c {box.folder}/etc/agent.yaml\n" in unit
    drop_in = (box.folder / "units/edge-agent.service.d/lineside.conf").read_text()
    assert f"LoadCredential=press:{box.folder}/etc/secrets/press\nReadWritePaths={box.folder}/data\n" in drop_in


def test_a_second_run_changes_nothing_and_lets_the_agent_run(box: Box) -> None:
    before = (box.agent(), box.in_use())
    ran = box.run()
    assert (ran.code, ran.changed) == (0, 0), ran.out
    assert (box.agent(), box.in_use()) == before


def test_a_broken_configuration_is_named_and_the_old_one_stays_in_use(box: Box) -> None:
    before = (box.agent(), box.in_use())
    press = box.devices / "press.yaml"
    right = press.read_text()
    press.write_text(right.replace("deadband", "deadbant"))
    try:
        ran = box.run()
    finally:
        press.write_text(right)
    assert ran.code != 0
    said = " ".join(ran.out.split())
    line = right[: right.index("deadband")].count("\n") + 1
    assert f"devices/press.yaml:{line}:9: unknown key ''deadbant'' in tag ''ram/force''." in said, ran.out
    assert (box.agent(), box.in_use()) == before
    assert "deadbant" in (box.folder / "etc/refused/devices/press.yaml").read_text()
    assert [path.name for path in (box.folder / "etc/versions").iterdir()] == [Path(before[1]["etc/current"]).name]
    assert edge_agent(box.folder / "etc" / "agent.yaml", "status").code == 1  # it answers; its machines are away


def test_check_mode_checks_the_new_configuration_shows_it_and_leaves_the_box_alone(box: Box) -> None:
    before = (box.agent(), box.in_use(), sorted((box.folder / "etc").rglob("*")))
    ran = box.run("--check", "--diff", vault_press_password="another secret", oven_address="127.0.0.2")
    assert ran.code == 0, ran.out
    assert ran.changed > 0
    assert re.search(
        r"^-    endpoint: tcp://127.0.0.1:502\n\+    endpoint: tcp://127.0.0.2:502$", ran.out, re.MULTILINE
    )
    assert "secrets/press: changed" in ran.out
    assert "another secret" not in ran.out
    assert (box.agent(), box.in_use(), sorted((box.folder / "etc").rglob("*"))) == before


def test_software_that_does_not_come_up_gives_way_to_what_ran_before(box: Box) -> None:
    before, agent = box.in_use(), box.agent()
    broken = wheel_that_does_not_start(box.folder / "build")
    shutil.move(broken, box.folder / "wheels")
    broken = box.folder / "wheels" / broken.name
    ran = box.run(lineside_wheel=str(broken), edge_agent_start_s_max=2, vault_press_password="another secret")
    broken.unlink()
    assert ran.code != 0
    said = " ".join(ran.out.split())
    assert "edge-agent did not come up with what is new: nobody answers" in said, ran.out
    assert "What was in use before is in use again, and it is up." in said
    assert box.in_use() == before
    assert (box.folder / "etc/secrets/press").read_text() == "a secret"
    assert box.agent() != agent
    assert edge_agent(box.folder / "etc" / "agent.yaml", "status", "--json").json["agent"] == "plant-7/line-4"
