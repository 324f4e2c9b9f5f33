"""Whether an agent runs with what its files say: every file counts, those that secrets are in too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.model.errors import ConfigInvalid
from edge_agent.config.in_use import ConfigInUse, Sync
from edge_agent.config.load import load_with_origins
from edge_agent.drivers import built_in_drivers
from tests.virtual_time import START_NS

DRIVERS = built_in_drivers()


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic_s(self) -> float:
        return self.ns / 1e9


def unit(name: str, **more: Any) -> str:
    device = {"name": name, "driver": "modbus", "endpoint": "tcp://10.0.0.2", "tags": [{"name": "a", "at": "coil 1"}]}
    return yaml.safe_dump({"devices": [{**device, **more}]})


class Files:
    """The files of an agent: its own, one of devices, a secret; and what is in use of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        (folder / "devices").mkdir()
        self.own, self.oven, self.secret = folder / "agent.yaml", folder / "devices" / "oven.yaml", folder / "secret"
        self.own.write_text(
            "agent: {group: plant, name: line}\ninclude: [devices/*.yaml]\n"
            "uplink: {brokers: ['mqtt://10.0.0.9'], insecure: true, user: line, password: '${file:secret}'}\n"
        )
        self.oven.write_text(unit("oven"))
        self.secret.write_text("open sesame\n")
        self.secret.chmod(0o600)
        self.in_use = ConfigInUse(self.own, DRIVERS, load_with_origins(self.own, DRIVERS), self.clock)  # type: ignore[arg-type]

    def look(self) -> bool:
        self.clock.ns += 1_000_000_000
        return self.in_use.looked(self.in_use.look())

    def reload(self) -> None:
        loaded, changes = self.in_use.load()
        self.in_use.adopt(loaded, changes, "a test")

    @property
    def state(self) -> Sync:
        return self.in_use.status.state


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_files_that_nobody_has_changed_are_in_sync_since_the_start(files: Files) -> None:
    assert not files.look()
    status = files.in_use.status
    assert (status.state, status.since_ns, status.loaded_ns, status.by) == (Sync.IN_SYNC, START_NS, START_NS, "start")


@pytest.mark.parametrize("what", ["own", "oven", "secret"])
def test_a_changed_file_is_named_until_it_is_as_it_was(files: Files, what: str) -> None:
    path: Path = getattr(files, what)
    before = path.read_text()
    path.write_text(f"{before}# by hand\n")
    assert files.look()
    assert (files.state, files.in_use.status.files) == (Sync.OUT_OF_SYNC, (str(path.relative_to(files.folder)),))
    since_ns = files.in_use.status.since_ns
    assert not files.look(), "no news"
    assert files.in_use.status.since_ns == since_ns
    path.write_text(before)
    assert files.look()
    assert (files.state, files.in_use.status.files) == (Sync.IN_SYNC, ())


def test_a_file_that_is_touched_only_is_as_it_was(files: Files) -> None:
    os.utime(files.oven, ns=(1, 1))
    assert not files.look()
    assert files.state is Sync.IN_SYNC


def test_a_new_file_and_one_that_is_gone_are_named(files: Files) -> None:
    (files.folder / "devices" / "press.yaml").write_text(unit("press"))
    files.oven.unlink()
    assert files.look()
    assert files.in_use.status.files == ("devices/oven.yaml", "devices/press.yaml")
    files.reload()
    assert not files.look()
    assert files.state is Sync.IN_SYNC
    assert [device.name for device in files.in_use.config.devices] == ["press"]


def test_what_cannot_be_used_has_failed_until_it_is_put_right_or_put_back(files: Files) -> None:
    good = files.oven.read_text()
    files.oven.write_text(good.replace("coil", "coyle"))
    files.look()
    with pytest.raises(ConfigInvalid) as refused:
        files.in_use.load()
    files.in_use.refused(refused.value, "a test")
    assert (files.state, files.in_use.status.by) == (Sync.FAILED, "a test")
    assert "devices/oven.yaml:" in files.in_use.status.reasons[0]
    assert not files.look()
    assert files.state is Sync.FAILED, "as long as the files are so"
    files.oven.write_text(good)
    assert files.look()
    assert (files.state, files.in_use.status.reasons) == (Sync.IN_SYNC, ())


def test_of_very_many_problems_the_first_are_kept_and_the_rest_counted(files: Files) -> None:
    tags = [{"name": f"t{number}", "at": "nowhere"} for number in range(30)]
    files.oven.write_text(unit("oven", tags=tags))
    with pytest.raises(ConfigInvalid) as refused:
        files.in_use.load()
    files.in_use.refused(refused.value, "a test")
    assert len(files.in_use.status.reasons) == 21
    assert files.in_use.status.reasons[-1] == "And 10 more; 'edge-agent check' shows all."


def test_what_waits_for_a_restart_keeps_it_out_of_sync(files: Files) -> None:
    files.own.write_text(files.own.read_text() + "outbox: {size_max: 1GiB}\n")
    files.reload()
    assert not files.look()
    assert (files.state, files.in_use.status.files, files.in_use.status.restart) == (
        Sync.OUT_OF_SYNC, (), ("outbox.size_max",),
    )  # fmt: skip


def test_the_marks_change_with_a_file_that_the_refused_configuration_has_named(files: Files) -> None:
    other = files.folder / "other.yaml"
    other.write_text(unit("other", endpoint="nowhere"))
    files.own.write_text(files.own.read_text().replace("[devices/*.yaml]", "[devices/*.yaml, other.yaml]"))
    with pytest.raises(ConfigInvalid):
        files.in_use.load()
    before = files.in_use.marks()
    assert files.in_use.marks() == before
    other.write_text(unit("other"))
    assert files.in_use.marks() != before
