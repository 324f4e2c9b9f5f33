"""What goes on while a session lasts: tags found, bound, subscribed to and polled, problems tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from asyncua.client.client import Client

from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_NODE_ID_UNKNOWN, BAD_NOT_SUPPORTED
from connectors.model.tags import TagName
from connectors.opcua.attributes import read_namespaces
from connectors.opcua.binding import Binding, BoundTag, bind_tags
from connectors.opcua.discovery import Discovered, discover
from connectors.opcua.events import Conditions, Events
from connectors.opcua.history import HistoryFill, historized
from connectors.opcua.known_tags import KnownTags
from connectors.opcua.opening import keep_secure
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.polling import Polling
from connectors.opcua.publishing import Publishing
from connectors.opcua.redundancy import watch_service_level
from connectors.opcua.server_state import read_start, watch_state
from connectors.opcua.session import OpcUaSession
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Continuation, FoundTag, Missing, TagProblem
from connectors.stopping import Tasks

MODEL_SETTLE_S: Final = 1.0
MODEL_CHANGES_S_MIN: Final = 10.0
"""Between two looks at a server that says again and again that it has changed."""


class OpcUaConnection:
    """The work of one session with the server of ``device``; ``tags`` and ``conditions`` go on with the next one.

    Where the connection is lost and the server has kept the subscriptions, ``go_on`` and ``run`` follow once more.
    """

    def __init__(
        self,
        client: Client,
        device: OpcUaDevice,
        tags: KnownTags,
        clock: Clock,
        acquisition: Acquisition,
        limits: OperationLimits,
        conditions: Conditions,
    ) -> None:
        self._client = client
        self._device = device
        self._tags = tags
        self.acquisition = acquisition
        self._limits = limits
        self._binding = Binding()
        self._rule_problems: list[TagProblem] = []
        self.subscriptions = Subscriptions(client, device, limits)
        self.publishing = Publishing(client, device, clock, acquisition, Events(conditions))
        self._clock = clock
        self._missing: Missing | None = None
        self._polls_history = False
        self.server_started: object = None
        """When the server was started, by its own clock, where it says that."""
        self._historized: list[BoundTag] = []
        self.is_going_on = False
        """It goes on after a lost connection, and what the server has kept is not all here yet."""
        self._polling = Polling(client, device, clock, acquisition, limits, self.publishing.held())
        self.session = OpcUaSession(client, device, tags.all, clock, self._binding)

    @property
    def lag_s_max(self) -> float:
        """How long a change may take until it is here, as the server has revised the intervals."""
        return self.subscriptions.lag_s_max

    @property
    def is_settled(self) -> bool:
        """Whether another connection could go on with it: all present values are here, and no history is wanted."""
        has_all = self.is_going_on or self.publishing.have_all_spoken.is_set()
        return self._missing is None and not self._polls_history and has_all

    async def begin(self) -> None:
        """Find and bind all tags, and say so. Raises what asyncua raises when the connection is lost."""
        self.server_started = await read_start(self._client)
        if any(tag.events is not None for tag in self._device.tags):
            self.publishing.events.namespaces = await read_namespaces(self._client)
        chosen = list(self._tags.of_file)
        if self._device.browse:
            self._take(await discover(self._client, self._device, self._limits))
            chosen += sorted(self._tags.indices_in_use)
        await self._acquire(await self._bind(chosen))
        if self._device.browse:
            await self.subscriptions.watch_model()
        await self._report()
        if self._device.history.use != "never":
            await self._look_for_history()

    async def go_on(self, how: Continuation, detail: str) -> None:
        """The server has kept the subscriptions while there was no connection: hand over what was on its way then.

        Raises what asyncua raises, and ``DeviceUnavailable``.
        """
        self.is_going_on = True
        self.session.go_on()
        self.publishing.go_on(self._are_better_read_from_history)
        if how == "transferred":
            self._polling.forget_registrations()
        self.acquisition.continued(how, detail)
        await self._report()
        await self.publishing.take_missed()

    def give_up(self) -> None:
        """No other connection goes on with it: what it knows of its tags makes room for what the next learns."""
        self.publishing.give_up()
        self.subscriptions.give_up()
        self._polling.give_up()
        self._binding.clear()
        self._historized.clear()

    async def run(self) -> None:
        """Hand samples over until cancelled, or the connection is lost. ``go_on`` or ``give_up`` follow.

        Raises ``DeviceUnavailable`` in groups, and what asyncua raises when the connection is lost.
        """
        name = self._device.name
        try:
            async with Tasks() as tasks:
                tasks.create_task(watch_state(self._client, self._device), name=f"{name} state")
                if self._device.backup:
                    level = watch_service_level(self._client, self._device)
                    tasks.create_task(level, name=f"{name} service level")
                tasks.create_task(self.session.watch(), name=f"{name} answers")
                tasks.create_task(self.publishing.run(self.subscriptions), name=f"{name} publishing")
                tasks.create_task(self._polling.run(), name=f"{name} polling")
                tasks.create_task(self._retry_problems(), name=f"{name} retry")
                if self._missing is not None:
                    tasks.create_task(self._fill_outage(self._missing), name=f"{name} history")
                if self.is_going_on:
                    tasks.create_task(self._catch_up(), name=f"{name} caught up")
                if self._device.browse:
                    tasks.create_task(self._browse_again(), name=f"{name} browse")
                tasks.create_task(keep_secure(self._client, self._device), name=f"{name} channel")
        finally:
            self._polling.tell_behind(*self.publishing.newest)

    async def _catch_up(self) -> None:
        await self.publishing.have_all_spoken.wait()
        self.is_going_on = False
        self._polling.tell_behind(self._clock.monotonic_s(), self._clock.now_ns())
        self.acquisition.caught_up()

    async def _are_better_read_from_history(self, tags: Sequence[int]) -> bool:
        if self._device.history.use == "never":
            return False
        bound = [self._binding.bound[index] for index in dict.fromkeys(tags) if index in self._binding.bound]
        alone = [tag.alone() for tag in bound if tag.settings.events is None]
        return bool(await historized(self._client, self._device, alone, self._limits))

    async def _look_for_history(self) -> None:
        """Whether something is missing that the server may have; asked before the first sample, which ends a gap.

        Polled tags that have a history are read from it after each outage: their polls are not kept for anybody.
        """
        if polled := [tag.alone() for tag in self._polling.tags]:
            self._polls_history = bool(await historized(self._client, self._device, polled, self._limits))
        missing = self.acquisition.missing()
        if missing is None:
            return
        bound = [tag.alone() for tag in self._binding.bound.values() if tag.settings.events is None]
        self._historized = await historized(self._client, self._device, bound, self._limits)
        if self._historized:
            self._missing = missing
        else:
            await self.acquisition.restored(has_history=False)

    async def _fill_outage(self, missing: Missing) -> None:
        """Read history when each tag has said what it has now: that would come a second time otherwise."""
        chosen = [*self._tags.of_file, *sorted(self._tags.indices_in_use)]
        await self.publishing.have_all_spoken.wait()
        filling = HistoryFill(self._client, self._device, self._clock, self.acquisition, self._limits)
        await filling.run(missing, chosen, self._historized)
        self._missing = None

    async def _bind(self, chosen: Sequence[int]) -> list[BoundTag]:
        """Bind the tags at the indices ``chosen``; those that are."""
        found = await bind_tags(self._client, self._tags.all, chosen, self._limits)
        self._binding.take(found)
        return list(found.bound.values())

    async def _acquire(self, tags: Iterable[BoundTag]) -> None:
        """Subscribe to ``tags``, or poll them; those that the server refuses are problems from then on."""
        polled: list[BoundTag] = []
        monitored: list[BoundTag] = []
        followers: dict[int, tuple[int, ...]] = {}
        for tag in tags:
            if tag.is_led:
                continue
            followers[tag.index] = tag.indices
            (monitored if tag.settings.poll_s is None else polled).append(tag)
        for tag in monitored:
            self.publishing.bind(tag)
        self._polling.add(polled)
        problems = await self.subscriptions.add(monitored)
        for leader, problem in problems.items():
            for index in followers[leader]:
                self._binding.bound.pop(index, None)
                self._binding.problems[index] = replace(problem, tag=TagName(self._tags[index].name))

    async def _report(self) -> None:
        types = [tag.type for _, tag in sorted(self._binding.bound.items())]
        absent = [_absent(tag.name, self._device.browse_again_s) for tag in self._tags.absent]
        await self.acquisition.online(types, [*self._binding.told(), *absent, *self._rule_problems])

    async def _retry_problems(self) -> None:
        """Bind again, from time to time, what could not be bound, and what has changed its type."""
        while True:
            await asyncio.sleep(self._device.retry_s)
            changed = self.publishing.take_mismatched() | self._polling.take_mismatched()
            if changed:
                names = ", ".join(self._tags[index].name for index in sorted(changed)[:5])
                what = "1 tag has changed its" if len(changed) == 1 else f"{len(changed)} tags have changed their"
                raise DeviceUnavailable(f"{self._device.name}: {what} type on the server ({names}); connecting anew")
            before = dict(self._binding.problems)
            if not before:
                continue
            async with self.publishing.held():  # no sample of a tag comes before the word that there is the tag
                await self._acquire(await self._bind(sorted(before)))
                if before != self._binding.problems:
                    await self._report()

    def _take(self, found: Discovered) -> None:
        """These are the tags that the browse rules find now."""
        new, beyond = self._tags.take(found.tags, is_whole=found.is_whole)
        self._rule_problems = list(found.problems)
        if beyond:
            reason = (
                f"there is no room for {beyond} of the variables that the browse rules have found since the agent was "
                "started, those counted that have gone again; raise 'max' of the rules"
            )
            self._rule_problems.append(TagProblem(TagName("browse"), reason, BAD_NOT_SUPPORTED))
        self.acquisition.tags_found(
            [FoundTag(TagName(tag.name), self._device.report_rule(tag), tag.lane == "alarms") for tag in new]
        )

    async def _browse_again(self) -> None:
        """Look which variables have come and gone: from time to time, and when the server says that some have."""
        changed, pause_s = self.publishing.events.model_changed, MODEL_SETTLE_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._device.browse_again_s):
                    await changed.wait()
                    await asyncio.sleep(pause_s)  # one change seldom comes alone
            changed.clear()
            pause_s = MODEL_CHANGES_S_MIN
            found = await discover(self._client, self._device, self._limits)
            async with self.publishing.held():
                await self._change_to(found)

    async def _change_to(self, found: Discovered) -> None:
        before = {index: self._tags[index].at for index in self._tags.indices_in_use}
        problems = self._rule_problems
        self._take(found)
        after = {index: self._tags[index].at for index in self._tags.indices_in_use}
        gone = [index for index, at in before.items() if after.get(index) != at]
        come = sorted(index for index, at in after.items() if before.get(index) != at)
        for index in gone:
            self._binding.forget(index)
            self.publishing.unbind(index)
        self._polling.remove(gone)
        await self.subscriptions.remove(gone)
        await self._acquire(await self._bind(come))
        if gone or come or problems != self._rule_problems:
            await self._report()


def _absent(name: str, again_s: float) -> TagProblem:
    reason = (
        f"the browse rule that has found this variable does not find it any more; it is looked for every {again_s:g} s"
    )
    return TagProblem(TagName(name), reason, BAD_NODE_ID_UNKNOWN)
