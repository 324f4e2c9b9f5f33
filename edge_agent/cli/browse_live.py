"""``edge-agent browse`` at a terminal: the tree is opened, marked and written with keys, while the server is asked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Final

from connectors.model.errors import DeviceUnavailable
from connectors.ports.survey import LiveSurvey, NodeRefused, SurveyedNode, SurveyedVariable
from connectors.stopping import Tasks
from edge_agent.cli.browse_keys import BrowseKeys, Writing
from edge_agent.cli.browse_tree import Branch, BrowseTree
from edge_agent.cli.browse_view import BrowseView
from edge_agent.cli.live_terminal import LiveTerminal, changed_within
from edge_agent.cli.made_files import what_next
from edge_agent.cli.terminal import without_logs

LOOK_AGAIN_S: Final = 30.0
REST_S: Final = 0.15
"""The cursor stays on a variable for so long before the server is asked for it alone."""

FileText = Callable[[Sequence[SurveyedVariable], Sequence[SurveyedNode]], str]
"""The device file with these variables, and rules for these folders."""


async def browse_live(opened: AbstractAsyncContextManager[LiveSurvey], place: str, path: str, text: FileText) -> None:
    """Show the tree until somebody leaves. ``path`` is proposed for the device file, which has what ``text`` gives.

    Raises ``DeviceUnavailable`` when there is no connection, or it is lost; the terminal is as it was then.
    """
    with without_logs():
        await _until_left(opened, place, path, text)


async def _until_left(opened: AbstractAsyncContextManager[LiveSurvey], place: str, path: str, text: FileText) -> None:
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    async with opened as survey:
        keys = BrowseKeys(BrowseTree(), path)
        with LiveTerminal() as terminal:
            look = _Look(survey, terminal, keys, BrowseView(place, plain=plain), text)
            lost = await look.run()
        if lost is not None:
            marks = keys.tree.marks_text()
            raise DeviceUnavailable(f"{lost}; {marks} marked and not written" if marks and keys.is_unwritten else lost)


class _Look:
    """One look at a device on one terminal."""

    def __init__(
        self, survey: LiveSurvey, terminal: LiveTerminal, keys: BrowseKeys, view: BrowseView, text: FileText
    ) -> None:
        self._survey, self._terminal, self._keys, self._view, self._text = survey, terminal, keys, view, text
        self._looked: Branch | None = None

    async def run(self) -> str | None:
        """Until somebody leaves, or the connection is lost: then why."""
        lost: str | None = None
        try:
            async with Tasks() as tasks:
                running = [tasks.create_task(self._survey.watch(), name="browse connection")]
                await self._show(tasks, running)
                for task in running:
                    task.cancel()
        except* DeviceUnavailable as group:
            lost = str(group.exceptions[0])
        return lost

    async def _show(self, tasks: Tasks, running: list[asyncio.Task[None]]) -> None:
        keys, terminal = self._keys, self._terminal
        while True:
            for key in terminal.pressed():
                keys.press(key)
            if keys.is_done:
                return
            wanted, keys.tree.wanted = keys.tree.wanted, []
            running += [tasks.create_task(self._ask(branch), name="browse page") for branch in wanted]
            if keys.writing is not None:
                writing, keys.writing = keys.writing, None
                running.append(tasks.create_task(self._write(writing), name="browse write"))
            running[:] = [task for task in running if not task.done()]
            terminal.draw(self._view.screen(keys, terminal.columns, terminal.lines))
            rests = keys.tree.cursor is not self._looked
            if not await changed_within(terminal, REST_S if rests else LOOK_AGAIN_S) and rests:
                self._looked = keys.tree.cursor
                if self._looked is not None and self._looked.is_variable:
                    running.append(tasks.create_task(self._look_at(self._looked), name="browse variable"))

    async def _ask(self, branch: Branch) -> None:
        tree = self._keys.tree
        try:
            async with aclosing(self._survey.pages(branch.node)) as pages:
                async for nodes in pages:
                    tree.take(branch, nodes)
                    self._terminal.changed.set()
            tree.finish(branch)
        except NodeRefused as exc:
            tree.finish(branch, str(exc))
        self._terminal.changed.set()

    async def _look_at(self, branch: Branch) -> None:
        if branch.node is None:
            return
        try:
            (variable,) = await self._survey.read([branch.node])
        except NodeRefused:
            return  # what was read with its page stays
        self._keys.tree.looked(branch, variable)
        self._terminal.changed.set()

    async def _write(self, writing: Writing) -> None:
        keys = self._keys
        variables, folders = keys.tree.marked()
        marks = keys.tree.marks_text()
        try:
            text = self._text(await self._survey.read(variables) if variables else (), folders)
            _to_file(writing, text)
        except NodeRefused as exc:
            keys.said = f"nothing is written: {exc}"
        except FileExistsError:
            keys.exists(writing.path)
        except OSError as exc:
            keys.said = f"{writing.path} cannot be written: {exc.strerror}; w writes to another file"
        else:
            keys.written(f"{writing.path}: {marks}; {what_next(writing.path)}")
        self._terminal.changed.set()


def _to_file(writing: Writing, text: str) -> None:
    """Raises ``FileExistsError`` when there is one that nobody has given up."""
    path = Path(writing.path).expanduser()
    if not writing.over:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        return
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
