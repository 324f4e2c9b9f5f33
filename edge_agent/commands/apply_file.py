"""Applies a version of a device file: checked, written, tried by a reload of the agent, kept or put back.

Where a reload is not possible, a start of the agent tries it; putting it back is a reload or a start, too.

Journalled before the file is touched; everything after that is in the ``FileStore``, by which any start of the agent
goes on, also one after ``kill -9``:

======================================  =========================================================================
ended                                   what the next start does
======================================  =========================================================================
before the trial was noted              reports ``failed``: nothing was touched
after that, before the file is new      reports ``failed``: the file is as it was
after the file is new, before a reload  tries it: this is the start that the trial is about
in the trial, not asked to              puts the file back before it is read, and reports ``failed``
in the trial, asked to (SIGTERM)        tries it again, from the beginning
while it is put back                    goes on with that; also later, where the disk does not let it at once
after the trial, before the report      reports what the trial has found
======================================  =========================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from connectors.commands.envelope import ApplyDeviceFile
from connectors.commands.refusals import Refusal
from connectors.commands.reports import NAME_CHARS_MAX
from connectors.commands.states import CommandState
from connectors.model.back_off import BackOff
from connectors.model.errors import ConfigInvalid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from edge_agent.commands.agent_actions import Begin, Restarting, ended
from edge_agent.commands.journal_rows import AGENT_LINE, Command, Lock
from edge_agent.commands.targets import Refused
from edge_agent.commands.writing import Outcome
from edge_agent.config.device_files import DeviceFiles, FileNow, problems_text, shortened
from edge_agent.config.file_records import Trial
from edge_agent.config.models import AgentConfig
from edge_agent.observability.command_events import (
    DeviceFileKept,
    DeviceFileNotTold,
    DeviceFileRolledBack,
    DeviceFileStuck,
    DeviceFileTried,
)

LOOK_S: Final = 0.5
FILES_LOOK_S: Final = 10.0
RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 60.0


class ApplyFileWork:
    """See the module. ``read`` names the devices that are read now, with a good value of at least one tag each.

    ``changed`` is called when the files are not as they were said to be last.
    """

    def __init__(
        self,
        files: DeviceFiles,
        running: AgentConfig,
        restarting: Restarting,
        *,
        read: Callable[[], set[str]],
        clock: Clock,
        locks: Callable[[], Mapping[str, Lock]] = dict,
        changed: Callable[[], None] = lambda: None,
        in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        self.files = self._files = files
        self._running = running
        self._restarting = restarting
        self._read = read
        self._clock = clock
        self.locks = locks
        self.changed = changed
        self._in_thread = in_thread
        self.reload: Callable[[], Awaitable[str]] | None = None
        """Has the agent use its files as they are now, without a restart; empty, or why it could not."""
        self._is_decided = asyncio.Event()
        self._in_place: asyncio.Queue[Trial | None] = asyncio.Queue(2)
        """A trial, of which there is one at a time; ``None``: the files are to be looked at now."""
        self._ends = False
        self._checked: dict[str, str] = {}
        """The SHA-256 of the file that the command under way was checked against."""
        self._left_out = set[str]()
        self.now: tuple[FileNow, ...] = ()
        """The files as they were looked at last."""

    def adopt(self, running: AgentConfig) -> None:
        """Another configuration runs, without a restart."""
        self._running = running

    def look_soon(self) -> None:
        """Other files are in use now: what was seen of them last is not true any more."""
        if self._in_place.empty():
            self._in_place.put_nowait(None)

    async def run(self) -> None:
        """Bring a trial to its end, whatever the journal is like; then try what comes, and look at the files."""
        trial: Trial | None
        try:
            await self._look()
            trial = (await self._in_thread(self._files.store.records)).running
            if trial is not None and trial.ending:  # the start could not put it back, and runs with it
                await self._put_back(trial, trial.reason)
            elif trial is not None:
                await self._watch(trial)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):  # it counts as a crash then: the file before is put back
                self._files.store.stopped()  # at once: nobody would wait for a thread
            raise
        self._is_decided.set()
        while True:
            await self._look()
            try:
                async with asyncio.timeout(FILES_LOOK_S):
                    trial = await self._in_place.get()
            except TimeoutError:
                continue
            if trial is not None:
                await self._try_in_place(trial)

    # -- AgentWork -----------------------------------------------------------------------------------------------------

    async def refused(self, command: Command) -> Refused | None:
        """See ``AgentWork``."""
        action = _action(command)
        try:
            content = await self._in_thread(self._content, command)
        except OSError as exc:
            return Refused(Refusal.FILE_DIFFERS, f"it is not kept here: {exc}")
        if action.sha256 != hashlib.sha256(content).hexdigest() or (not action.version and command.source == "cloud"):
            return Refused(Refusal.MALFORMED, "the content is not the one of its SHA-256, or it has no version")
        if command.source == "cloud" and self._running.agent.remote_files == "refuse":
            return Refused(Refusal.REMOTE_OFF, "agent.remote_files is refuse")
        if problem := self._files.naming_problem(action.name, self._running.include):
            return Refused(Refusal.UNKNOWN_TARGET, problem)
        try:
            before = await self._in_thread(self._files.store.sha256, action.name)
            refused: Refused | None = await self._in_thread(
                self._looked_into, action, content, before, command.source == "cloud"
            )
        except OSError as exc:
            return Refused(Refusal.FILE_DIFFERS, f"{action.name} cannot be read: {exc}")
        self._checked = {command.id: before}
        return refused or await self._restarting.quiet(command.id)

    async def do(self, command: Command, begin: Begin) -> Outcome | Refused:
        """See ``AgentWork``."""
        action, store, now_ms = _action(command), self._files.store, self._now_ms()
        if (refused := await begin(f"{action.name}: version {action.version}, {action.sha256}")) is not None:
            return refused
        before = self._checked.pop(command.id)
        try:
            if before == action.sha256:
                await self._in_thread(store.known, action.name, before, action.version, now_ms)
                await self._look()
                return Outcome(CommandState.SUCCEEDED, f"{action.name} has this content already")
            trial = Trial(
                command=command.id, name=action.name, version=action.version, sha256=action.sha256, before=before,
                health_s=action.health_s, begun_ms=now_ms, read=tuple(sorted(self._read())),
            )  # fmt: skip
            content = await self._in_thread(self._content, command)
            await self._in_thread(store.begin, trial, content)
        except OSError as exc:
            return await self._not_written(command, str(exc))
        if self.reload is None:
            self._restart(trial, f"{command.envelope.issuer}: {command.target}")
            return await ended()
        self._is_decided.clear()
        self._in_place.put_nowait(trial)
        return await self.recovered(command) or await ended()

    async def recovered(self, command: Command) -> Outcome | None:
        """See ``AgentWork``."""
        await self._is_decided.wait()
        if self._ends:
            return None
        action = _action(command)
        trial = (await self._in_thread(self._files.store.records)).trial
        if trial is None or trial.command != command.id:
            now = await self._in_thread(self._files.store.sha256, action.name)
            if now == action.sha256:
                return Outcome(CommandState.SUCCEEDED, f"{action.name} has this content")
            return Outcome(CommandState.FAILED, f"the agent ended before it had touched {action.name}")
        what = f"{action.name} version {action.version}" if action.version else f"{action.name} as it was"
        match trial.ending:
            case "kept":
                return Outcome(CommandState.SUCCEEDED, f"{what} is in use")
            case "rolled_back":
                return Outcome(CommandState.FAILED, f"{what} was rolled back: {trial.reason}")
            case "":
                return None  # it was begun in this start, which ends for it
            case _:
                return Outcome(CommandState.FAILED, f"{what} is not in use: {trial.reason or trial.ending}")

    # ------------------------------------------------------------------------------------------------------------------

    def _content(self, command: Command) -> bytes:
        """What comes with the command; or, asked for at the box, what was kept under this SHA-256."""
        action = _action(command)
        is_kept = command.source == "local" and not action.content
        return self._files.store.content(action.sha256) if is_kept else action.content.encode()

    def _looked_into(self, action: ApplyDeviceFile, content: bytes, now: str, is_remote: bool) -> Refused | None:
        """The checks that read files, of which ``now`` is the SHA-256 of the one to be replaced; in a thread."""
        for line in sorted(self._files.devices_in(action.name) | self._files.devices_in(action.name, content)):
            if line != AGENT_LINE and (lock := self.locks().get(line)) is not None:
                return Refused(Refusal.LOCKED, f"{lock.actor} has locked {line}: {lock.reason}")
        if problem := self._replacing_problem(action, now):
            return Refused(Refusal.FILE_DIFFERS, problem)
        try:
            after = self._files.check(action.name, content)
        except ConfigInvalid as exc:
            return Refused(Refusal.FILE_INVALID, problems_text(exc.problems, self._files.store.config_dir))
        if is_remote and self._running.agent.remote_files != "any":
            wider = self._files.wider(action.name, content, after, self._running)
            if wider:
                return Refused(Refusal.FILE_TOO_WIDE, shortened(wider))
        return None

    def _replacing_problem(self, action: ApplyDeviceFile, now: str) -> str:
        record = self._files.store.records().of(action.name)
        if action.replaces is not None:
            held = f"it is {now}" if now else "there is none"
            return "" if action.replaces == now else f"{action.name} is not the file that it replaces: {held}"
        if not now or now == action.sha256 or (record.current is not None and record.current.sha256 == now):
            return ""
        who = "was changed at the box" if record.current is not None else "was made at the box"
        return f"{action.name} {who}, and is {now}: name that as 'replaces' to replace it all the same"

    async def _not_written(self, command: Command, problem: str) -> Outcome:
        """The disk, or the rights of the folder, do not let it: whatever was begun is taken back."""
        store, said = self._files.store, f"{_action(command).name} cannot be written: {problem}"
        try:
            trial = (await self._in_thread(store.records)).running
            if trial is not None and trial.command == command.id:
                await self._in_thread(store.roll_back, said)
        except OSError as exc:
            said += f"; nor can that be noted: {exc}"
        return Outcome(CommandState.FAILED, said)

    async def _try_in_place(self, trial: Trial) -> None:
        """The file is new: reload, and see what comes of it. A crash from here on is one in the trial."""
        await self._surely(trial, self._files.store.tried)
        if said := await self._reloaded():
            self._restart(trial, f"{trial.name} is tried by a start, as a reload was not possible: {said}")
            return
        self._restarting.let_go(trial.command)
        await self._look()
        await self._watch(trial)
        await self._look()
        self._is_decided.set()

    async def _reloaded(self) -> str:
        return "the agent cannot" if self.reload is None else await self.reload()

    def _restart(self, trial: Trial, why: str) -> None:
        self._ends = True
        self._is_decided.set()
        self._restarting.ask(trial.command, why)

    async def _watch(self, trial: Trial) -> None:
        """See whether the devices that were read before are read with the version on trial; each has to be once."""
        emit(DeviceFileTried(trial.name, trial.version, trial.health_s))
        there = {device.name for device in self._running.devices}
        missing, end_s = set(trial.read) & there, self._clock.monotonic_s() + trial.health_s
        while self._clock.monotonic_s() < end_s:
            missing -= self._read()
            await asyncio.sleep(LOOK_S)
        if not missing - self._read():
            await self._surely(trial, self._files.store.keep, self._now_ms())
            emit(DeviceFileKept(trial.name, trial.version))
            return
        said = f"not read within {trial.health_s} s, and was before: {', '.join(sorted(missing))}"
        await self._put_back(trial, said)

    async def _put_back(self, trial: Trial, reason: str) -> None:
        """Have the file be as it was before, and the agent use that: by a reload, else by beginning anew."""
        await self._surely(trial, self._files.store.roll_back, reason)
        emit(DeviceFileRolledBack(trial.name, trial.version, reason))
        if not await self._reloaded():
            return
        await self._restarting.quiet(trial.command)  # what takes longer is cut off all the same
        self._restart(trial, f"{trial.name} is as it was before")

    async def _surely(self, trial: Trial, work: Callable[..., None], *args: Any) -> None:
        """Do ``work`` on the disk, however long that does not let it: until then nothing is said of the trial."""
        back_off, said = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S), ""
        while True:
            try:
                await self._in_thread(work, *args)
                return
            except OSError as exc:
                if str(exc) != said:
                    said = str(exc)
                    emit(DeviceFileStuck(trial.name, trial.version, said))
            await asyncio.sleep(back_off.next_s())

    async def _look(self) -> None:
        now = tuple(await self._in_thread(self._files.now))
        for name in sorted(set(self._files.left_out) - self._left_out):
            emit(DeviceFileNotTold(name[:NAME_CHARS_MAX]))
        self._left_out = set(self._files.left_out)
        if now != self.now:
            self.now = now
            self.changed()

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


def _action(command: Command) -> ApplyDeviceFile:
    action = command.envelope.action
    assert isinstance(action, ApplyDeviceFile)  # noqa: S101  by the mapping of the composition root
    return action
