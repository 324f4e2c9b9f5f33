"""A device file whose name no report can tell: it is read, and takes nothing else down."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.model.errors import ConfigInvalid
from connectors.observability.events import Event
from edge_agent.commands import apply_file
from edge_agent.observability.command_events import DeviceFileNotTold
from tests.unit.commands.files_box import NAME, PRESS, Box, living, sha
from tests.unit.commands.played_line import until
from tests.unit.commands.test_apply_file import FASTER, ask_and_restart
from tests.virtual_time import virtual_time

ODD = b"odd-\xff.yaml"


def put(box: Box, name: bytes, text: str | None) -> None:
    """Write a file beside that of the press, or remove it."""
    path = Path(os.fsdecode(os.fsencode(box.file.parent) + b"/" + name))
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


@pytest.mark.parametrize("name", [ODD, b"x" * 250 + b".yaml"])
def test_a_file_with_a_name_that_cannot_be_told_is_left_out_said_once_and_the_commands_go_on(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event] = []
    monkeypatch.setattr(apply_file, "emit", said.append)

    @virtual_time
    async def scenario() -> None:
        box = Box(tmp_path)
        put(box, name, "devices: []\n")
        async with living(box.start()) as start:
            await until(lambda: start.hellos and start.hellos[-1].files)
            assert [file.name for file in start.hellos[-1].files or ()] == [NAME]
            write = start.send(start.envelope("speed", 1))
            assert (await start.done(write.id)).state is CommandState.SUCCEEDED
            await asyncio.sleep(60.0)

    scenario()
    (event,) = [event for event in said if isinstance(event, DeviceFileNotTold)]
    assert event.name.startswith("devices/odd-\\udcff" if name == ODD else "devices/xxx")


@virtual_time
async def test_an_odd_name_in_the_reason_for_which_a_version_is_put_back_or_refused_is_said_in_numbers(
    tmp_path: Path,
) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    put(box, ODD, "devices: {")
    with pytest.raises(ConfigInvalid):
        box.start()
    assert box.content == PRESS
    put(box, ODD, None)
    async with living(box.start()) as start:
        assert "odd-\\udcff.yaml" in (await start.done(id_)).detail
        put(box, ODD, "devices: {")
        await asyncio.sleep(30.0)
        report = await start.done(start.ask(box.version(FASTER, 2, replaces=sha(PRESS))))
        assert report.code is Refusal.FILE_INVALID
        assert "odd-\\udcff.yaml" in report.detail
