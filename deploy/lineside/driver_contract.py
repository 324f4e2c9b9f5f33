"""What every driver has to keep to, as tests: derive from ``DriverContract``, say what your device is, run pytest.

The port, ``connectors/ports/device.py``, says what is tested here. See docs/how-to/write-a-driver.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import ValidationError

from connectors.model.errors import DeviceUnavailable, WriteRefused
from connectors.model.quality import is_good
from connectors.model.samples import Int32Array, Int64Array, SampleBatch
from connectors.model.tags import TagType
from connectors.ports.clock import SystemClock
from connectors.ports.device import Continuation, DeviceDriver, FoundTag, Missing, Reading, TagProblem
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
from connectors.ports.settings import DeviceSettings, DriverType

WAIT_S_MAX: Final = 60.0
END_S_MAX: Final = 10.0
"""A driver that is cancelled ends its connection within this time."""


class RecordingAcquisition:
    """Takes what a driver hands over, and looks whether each of it is in order, and what was said it would be."""

    def __init__(self, tag_names: Sequence[str]) -> None:
        self.tag_names = list(tag_names)
        self.types: dict[int, TagType] = {}
        self.problems: dict[str, TagProblem] = {}
        self.onlines = 0
        self.rows: list[tuple[int, int, Any, int]] = []
        """(tag, source time, value, quality) of each sample, in the order in which they came."""
        self.room = asyncio.Event()
        """While it is not set, ``put`` waits, as an acquisition does that is full."""
        self.room.set()

    def tags_found(self, tags: Sequence[FoundTag]) -> None:
        """See ``Acquisition``."""
        self.tag_names += [tag.name for tag in tags]

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """See ``Acquisition``."""
        indices = [tag.index for tag in types]
        assert len(set(indices)) == len(indices), f"a tag has two types: {types}"
        for tag in types:
            assert 0 <= tag.index < len(self.tag_names), f"there is no tag with the index {tag.index}"
            assert self.tag_names[tag.index] == tag.name, f"the tag {tag.index} is {self.tag_names[tag.index]!r}: {tag}"
        for problem in problems:
            assert problem.reason.strip(), f"a problem is a sentence: {problem}"
            assert not is_good(problem.quality), f"a tag that has a problem has no good quality: {problem}"
        self.types = {tag.index: tag for tag in types}
        self.problems = {str(problem.tag): problem for problem in problems}
        self.onlines += 1

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        """See ``Acquisition``."""
        assert self.onlines, "a sample came before 'online'"
        await self.room.wait()
        assert len(batch), "a batch without samples"
        for tag, time_ns, value, quality in batch.rows():
            assert tag in self.types, f"a sample of the tag {tag}, which 'online' has given no type"
            assert batch.datatype is self.types[tag].datatype, f"a sample of another type than {self.types[tag]}"
            assert value is not None or not is_good(quality), f"a good sample of the tag {tag} without a value"
            assert time_ns > 0, f"a sample of the tag {tag} without a source time"
            self.rows.append((tag, time_ns, value, quality))
        if committed is not None:
            committed()

    def lost(self, tags: Int32Array, time_ns: Int64Array) -> None:
        """See ``Acquisition``."""
        assert len(tags) == len(time_ns), "each tag that has lost samples has the time of the one that follows"

    def not_sent(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:  # noqa: D102
        assert first_ns <= last_ns, "what is missing ends before it begins"
        assert detail, "nobody says why samples are missing"
        assert len(np.unique(tags)) == len(tags), "a tag is named twice"

    def continued(self, how: Continuation, detail: str) -> None:  # noqa: D102  as in ``Acquisition``
        assert how != "anew" or detail, "nobody says why a device is read anew"

    def missing(self) -> Missing | None:
        """See ``Acquisition``: nothing is."""
        return None

    def reached(self, place: str = "") -> None:
        """See ``Acquisition``."""

    def unfilled(self, *said: object, **named: object) -> None:  # noqa: D102  as in ``Acquisition``
        raise AssertionError(f"something of the past was given, though nothing was missing: {said} {named}")

    async def restore(self, *said: object, **named: object) -> None:  # noqa: D102
        self.unfilled(*said, **named)

    caught_up = reached
    again, filled, restored = unfilled, unfilled, restore
    polled_late = not_sent

    def values(self, name: str) -> list[Any]:
        """The values of a tag, without those that repeat the one before."""
        found = [value for tag, _time, value, _quality in self.rows if self.tag_names[tag] == name]
        return [value for at, value in enumerate(found) if at == 0 or found[at - 1] != value]


class DriverContract(ABC):
    """The tests. A class of yours says what they are to be done with.

    The device is one of your own, played or real: a server in a process or thread, started anew for each test by
    ``start`` and ended by ``stop``. Time limits are generous: nothing here measures speed.
    """

    driver_name: ClassVar[str]
    driver_type: ClassVar[DriverType]
    writable_tag: ClassVar[str] = ""
    """A tag of ``entry`` that can be written; empty where the driver writes nothing."""

    @abstractmethod
    def entry(self) -> dict[str, Any]:
        """The device as a device file has it, without ``name`` and ``driver``.

        Its tags: ``value`` (a number), ``other``, and ``missing``, which the device does not have.
        """

    @abstractmethod
    def start(self) -> None:
        """Have the device there, at the place that ``entry`` says; its values are as they were."""

    @abstractmethod
    def stop(self) -> None:
        """Have it away, as with its plug pulled out. Does nothing when it is."""

    @abstractmethod
    def set_value(self, value: float) -> None:
        """Give the tag ``value`` this value, at the device."""

    # -- settings ------------------------------------------------------------------------------------------------------

    def test_its_settings_are_a_frozen_model_that_knows_no_other_keys(self) -> None:
        """A mistake in a device file is found before the driver is asked for anything."""
        settings = self._settings()
        assert isinstance(settings, DeviceSettings)
        assert [tag.name for tag in settings.tags][:3] == ["value", "other", "missing"]
        for wrong in ({"no_such_key": 1}, {"tags": ()}):
            with contextlib.suppress(ValidationError):
                self._settings(**wrong)
                raise AssertionError(f"{wrong} was not refused")
        with contextlib.suppress(ValidationError):
            settings.name = "another"
            raise AssertionError("settings can be changed")
        assert self.driver_type.settings.model_json_schema()["properties"]["driver"]

    def test_it_is_made_without_its_device(self) -> None:
        """Making a driver connects nothing: the agent makes all of them at its start."""
        driver = self._driver()
        assert 0 <= driver.lag_s_max < math.inf, "how far its samples lag is a number"
        for name, count in driver.counts().items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name), f"{name!r} is no snake_case"
            assert count >= 0

    # -- acquiring -----------------------------------------------------------------------------------------------------

    def test_every_tag_has_a_type_or_a_problem_and_neighbours_of_a_wrong_one_are_read(self) -> None:
        """One wrong tag is a ``TagProblem``, and never an exception."""

        async def look(_driver: DeviceDriver, found: RecordingAcquisition) -> None:
            await self._until(lambda: "missing" in found.problems and found.values("value") and found.values("other"))
            named = {str(tag.name) for tag in found.types.values()} | set(found.problems)
            assert {"value", "other", "missing"} <= named

        self._run(look)

    def test_changes_of_a_value_become_samples_in_their_order_with_rising_times(self) -> None:
        """A value that the device keeps for long enough is never missed."""

        async def look(driver: DeviceDriver, found: RecordingAcquisition) -> None:
            for value in (2.0, 3.0, 4.0):
                await self._set_value(value)
                await self._until_value(found, value)
            assert found.values("value")[-4:] == [1.0, 2.0, 3.0, 4.0]
            times = [time_ns for tag, time_ns, _value, _quality in found.rows if found.tag_names[tag] == "value"]
            assert times == sorted(times)
            for name, count in driver.counts().items():
                assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
                assert count >= 0

        self._run(look)

    def test_while_the_acquisition_is_full_it_waits_and_goes_on_afterwards(self) -> None:
        """Back-pressure: ``put`` is waited for, and nothing that was received is dropped."""

        async def look(_driver: DeviceDriver, found: RecordingAcquisition) -> None:
            await self._until(lambda: found.values("value"))
            found.room.clear()
            await self._set_value(2.0)
            await asyncio.sleep(1.0)
            found.room.set()
            await self._until(lambda: found.values("value")[-1:] == [2.0])
            await self._set_value(3.0)
            await self._until(lambda: found.values("value")[-2:] == [2.0, 3.0])

        self._run(look)

    def test_cancelled_it_ends_soon_leaves_no_task_behind_and_can_begin_again(self) -> None:
        """Also while the acquisition is full."""

        async def both() -> None:
            driver = self._driver()
            for _ in range(2):
                before = asyncio.all_tasks()
                async with self._acquiring(driver) as found:
                    await self._until(lambda: found.values("value"))
                    found.room.clear()
                    await asyncio.sleep(0.2)
                await asyncio.sleep(0.1)
                left = [task for task in asyncio.all_tasks() - before if not task.done()]
                assert left == [], f"tasks that go on after the end: {left}"

        self._with_device(both)

    def test_without_its_device_it_says_so_and_connects_when_it_is_there(self) -> None:
        """``DeviceUnavailable`` is the one error of ``acquire``, with a sentence for the operator."""

        async def look() -> None:
            driver = self._driver()
            self.stop()
            reason = await self._lost(asyncio.create_task(driver.acquire(RecordingAcquisition(self._names()))))
            assert len(reason.split()) > 2, f"no sentence: {reason!r}"
            self.start()
            async with self._acquiring(driver) as found:
                await self._until(lambda: found.values("value"))

        self._with_device(look)

    def test_a_device_that_goes_away_is_noticed_and_read_again_when_it_is_back(self) -> None:
        """The caller waits, and calls ``acquire`` of the same driver again."""

        async def look() -> None:
            driver, found = self._driver(), RecordingAcquisition(self._names())
            task = asyncio.create_task(driver.acquire(found))
            await self._until(lambda: found.values("value"), task)
            await asyncio.to_thread(self.stop)
            await self._lost(task)
            with contextlib.suppress(DeviceUnavailable):
                await driver.read(0)
                raise AssertionError("a device that is away was read")
            await asyncio.to_thread(self.start)
            await self._set_value(5.0)
            async with self._acquiring(driver) as again:
                await self._until(lambda: again.values("value")[-1:] == [5.0])

        self._with_device(look)

    # -- reading and writing -------------------------------------------------------------------------------------------

    def test_before_it_is_connected_nothing_is_read_written_or_called(self) -> None:
        """``DeviceUnavailable``, or ``ValueError`` for what could never be done; nothing was sent."""

        async def look() -> None:
            driver = self._driver()
            for work in (driver.read(0), driver.write(0, 1.0), driver.call("no_such_method", ())):
                with contextlib.suppress(DeviceUnavailable, ValueError):
                    await work
                    raise AssertionError("it was done")

        asyncio.run(look())

    def test_one_tag_is_read_when_it_is_asked_for(self) -> None:
        """The value of the device of now, in the type of the samples."""

        async def look(driver: DeviceDriver, found: RecordingAcquisition) -> None:
            await self._until(lambda: found.values("value"))
            await self._set_value(7.0)
            reading = await driver.read(0)
            assert isinstance(reading, Reading)
            assert (reading.value, is_good(reading.quality)) == (7.0, True)
            assert reading.time_ns > 0
            with contextlib.suppress(DeviceUnavailable, ValueError):
                missing = await driver.read(2)
                assert missing.value is None
                assert not is_good(missing.quality)

        self._run(look)

    def test_a_tag_is_written_once_or_refused_with_a_sentence(self) -> None:
        """After ``write`` has returned, the device has the value; a driver that writes nothing says so."""

        async def look(driver: DeviceDriver, found: RecordingAcquisition) -> None:
            await self._until(lambda: found.values("value"))
            names = self._names()
            if self.writable_tag:
                index = names.index(self.writable_tag)
                await driver.write(index, 12.0)
                assert (await driver.read(index)).value == 12.0
            for index in (names.index("missing"), *(() if self.writable_tag else (0,))):
                try:
                    await driver.write(index, 12.0)
                except (ValueError, WriteRefused, DeviceUnavailable) as exc:
                    assert len(str(exc).split()) > 2, f"no sentence: {exc}"
                else:
                    raise AssertionError(f"the tag {names[index]!r} was written")
            with contextlib.suppress(ValueError, WriteRefused, DeviceUnavailable):
                await driver.call("no_such_method", ())
                raise AssertionError("a method that there is not was called")
            await self._set_value(9.0)
            await self._until(lambda: found.values("value")[-1:] == [9.0])

        self._run(look)

    # ------------------------------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return [tag.name for tag in self._settings().tags]

    def _settings(self, **more: Any) -> Any:
        context = {SOURCE_IN_CONTEXT: SecretSource({}, Path())}
        entry = {"name": "device", "driver": self.driver_name, **self.entry(), **more}
        return self.driver_type.settings.model_validate(entry, context=context)

    def _driver(self) -> DeviceDriver:
        return self.driver_type.create(self._settings(), SystemClock())

    async def _set_value(self, value: float) -> None:
        await asyncio.to_thread(self.set_value, value)

    async def _until_value(self, found: RecordingAcquisition, value: float) -> None:
        await self._until(lambda: found.values("value")[-1:] == [value])

    def _run(self, look: Callable[[DeviceDriver, RecordingAcquisition], Awaitable[None]]) -> None:
        async def connected() -> None:
            driver = self._driver()
            async with self._acquiring(driver) as found:
                await self._until(lambda: found.values("value")[-1:] == [1.0])
                await look(driver, found)

        self._with_device(connected)

    def _with_device(self, look: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(3 * WAIT_S_MAX):
                await look()

        self.start()
        try:
            self.set_value(1.0)
            asyncio.run(limited())
        finally:
            self.stop()

    @asynccontextmanager
    async def _acquiring(self, driver: DeviceDriver) -> AsyncIterator[RecordingAcquisition]:
        found = RecordingAcquisition(self._names())
        task = asyncio.create_task(driver.acquire(found))
        watching = asyncio.create_task(_fails_with(task, asyncio.current_task()))
        try:
            yield found
        finally:
            watching.cancel()
            task.cancel()
            _, stuck = await asyncio.wait([task], timeout=END_S_MAX)
            assert not stuck, f"it has not ended within {END_S_MAX:g} s of being cancelled"
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @staticmethod
    async def _lost(task: asyncio.Task[None]) -> str:
        """Why the device is unavailable, once the driver has noticed."""
        await asyncio.wait([task], timeout=WAIT_S_MAX)
        assert task.done(), f"that the device is away was not noticed within {WAIT_S_MAX:g} s"
        error = task.exception()
        assert isinstance(error, DeviceUnavailable), f"a device that is away raises DeviceUnavailable, not {error!r}"
        assert error.retry_after_s is None or error.retry_after_s >= 0
        return error.reason

    @staticmethod
    async def _until(condition: Callable[[], object], task: asyncio.Task[None] | None = None) -> None:
        end_s = time.monotonic() + WAIT_S_MAX
        while not condition():
            if task is not None and task.done():
                task.result()
            assert time.monotonic() < end_s, f"it did not happen within {WAIT_S_MAX:g} s"
            await asyncio.sleep(0.01)


async def _fails_with(task: asyncio.Task[None], test: asyncio.Task[Any] | None) -> None:
    """End a test whose driver has ended: what it waits for does not come."""
    await asyncio.wait([task])
    if test is not None:
        test.cancel()
