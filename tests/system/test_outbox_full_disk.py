"""An outbox is opened on a disk that is full: its ballast is there for that, and what was damaged is salvaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.patience import WAIT_S_MAX
from tests.system.small_disk import SmallDisk, small_disk

MEGABYTE = 1_000_000
STARTS = 3


def start(disk: SmallDisk, folder: Path, commits: int = 0) -> dict[str, Any]:
    """One start of the outbox; what it says."""
    command = [
        *disk.wrapper,
        sys.executable,
        "-m",
        "tests.system.outbox_start",
        str(folder / "outbox.db"),
        str(commits),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_S_MAX)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_starts_on_a_disk_that_stays_full_live_on_the_ballast_and_on_what_is_held_of_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with small_disk(folder, 24 * MEGABYTE) as disk:
        assert start(disk, folder, 400)["stored"] == 400 * 500
        assert disk.path("outbox.db.ballast").stat().st_size == 4 * MEGABYTE
        disk.fill()
        for number in range(STARTS):
            said = start(disk, folder)
            assert "error" not in said, f"start {number}: {said}"
            assert said["unexplained"] == []
            disk.fill()


def test_an_outbox_that_is_damaged_on_a_full_disk_is_salvaged_in_the_room_of_its_ballast(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with small_disk(folder, 24 * MEGABYTE) as disk:
        start(disk, folder, 400)
        assert disk.path("outbox.db.ballast").stat().st_size == 4 * MEGABYTE
        disk.fill()
        with disk.path("outbox.db").open("r+b") as file:
            file.seek(20)
            file.write(b"\x55")
        said = start(disk, folder)
        assert said.get("salvaged"), said
        assert said["batches"] > 100, "the newest, as far as there was room"
        assert said["unexplained"] == []
        disk.fill()
        assert start(disk, folder)["unexplained"] == []
