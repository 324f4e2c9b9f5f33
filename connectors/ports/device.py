"""The port to the machines: one driver a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from connectors.model.quality import is_good
from connectors.model.report_by_exception import ReportRule
from connectors.model.samples import Int32Array, Int64Array, SampleBatch
from connectors.model.tags import TagName, TagType

Continuation: TypeAlias = Literal["resumed", "transferred", "anew"]
"""How a device is read again after its connection was lost, where it can keep what happens meanwhile.

``resumed``: it has kept all of it for the same session; ``transferred``: for another session; ``anew``: it has kept
nothing of it, or nobody knows.
"""

Value: TypeAlias = bool | int | float | str
"""One value of a tag or an argument. Of a DateTime the milliseconds since 1970, UTC; of Bytes the base64 text."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a device has answered to ``DeviceDriver.read``.

    ``value`` is in the engineering units of the tag and of the type that its samples have; ``None`` where there is
    none, and then ``quality`` (the upper half of an OPC UA status code) is not good. ``time_ns`` is the source time.
    """

    value: Value | None
    quality: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class TagProblem:
    """Why one tag gives no values, in a sentence; its neighbours are not affected.

    ``quality`` is the upper half of the OPC UA status code that fits best. Where it is good the tag does give values,
    as its type in ``Acquisition.online`` says: ``reason`` is then what somebody should know of it, and do.
    """

    tag: TagName
    reason: str
    quality: int

    @property
    def gives_values(self) -> bool:
        """Whether the tag is read all the same."""
        return is_good(self.quality)


@dataclass(frozen=True, slots=True)
class FoundTag:
    """A tag that the driver has found on the device, without the device file naming it."""

    name: TagName
    rule: ReportRule
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Since when samples of a device are missing, as ``Acquisition.missing`` says it; times of its own clock.

    ``first_ns``: of no tag anything older is missing. ``newest_ns``: of each tag, by its index, the source time of its
    newest sample that is here; nothing that is as old is news.
    """

    first_ns: int
    newest_ns: Int64Array


@dataclass(frozen=True, slots=True)
class Unfilled:
    """What the history of a device could not give: of the tags with these indices, what lies between these times."""

    tags: tuple[int, ...]
    first_ns: int
    last_ns: int
    reason: str


class Acquisition(Protocol):
    """What a driver reports to while it is connected: the acquisition of its device."""

    def tags_found(self, tags: Sequence[FoundTag]) -> None:
        """The device has tags that its file does not name.

        Their indices go on from those that are known (the file's tags, then those that are derived), and are theirs for
        as long as driver and acquisition live, whether or not the device has them all the time. Called before
        ``online`` names them.
        """
        ...

    def reached(self, place: str) -> None:
        """The device is reached at ``place``, for a driver that knows several; called before ``online``."""
        ...

    def continued(self, how: Continuation, detail: str) -> None:
        """How the device goes on after a lost connection, of which it could have kept something; before ``online``.

        Called by drivers that try to go on, once in such a connection. ``detail`` says why it goes on ``anew``. Unless
        it does, what comes now is what followed on what came last, in order, and the absence is declared only when
        this connection is lost before ``caught_up``. Until then the newest sample of a tag may come once more, as it
        was: it is passed over.
        """
        ...

    def caught_up(self) -> None:
        """All that the device has kept since the connection was lost is here: nothing of that time is missing.

        What it could not keep was said by ``lost`` or ``not_sent`` before. Called after ``continued``, in the same
        connection.
        """
        ...

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """The device is connected and these tags are known with their types; the others have a problem.

        Called after each connect, before the first sample, and again when tags have become known or have got a
        problem since. Returns when the definition is on disk.
        """
        ...

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        """Hand over samples (``tag`` holds the index of ``TagType``).

        Waits while the acquisition is full: that is how back-pressure reaches the device. ``committed`` is called,
        in the event loop, when the samples are on disk.
        """
        ...

    def lost(self, tags: Int32Array, time_ns: Int64Array) -> None:
        """The device itself has lost samples of ``tags``: each of them before its sample of ``time_ns``.

        Called before ``put`` of those samples. What is missing is declared as a gap of these tags, from the sample
        that came before. (A word in the quality would say it of a sample which is as good as any other, and the
        delivery ledger, which says what is missing, would not know.)
        """
        ...

    def not_sent(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        """The device has sent samples of ``tags`` that did not come, and does not have them any more.

        They lie between these times of its clock; ``detail`` says what was lost. What is missing is declared as a gap
        of these tags. Called before ``put`` of the samples that follow.
        """
        ...

    def missing(self) -> Missing | None:
        """Since when samples are missing, for a driver that can ask the device for them; ``None``: none are.

        Called at most once a connection, after the first ``online`` and before the first ``put``. The absence is then
        declared only as far as ``unfilled`` says, once ``restored`` is called. Where the connection is lost before,
        what had not come is missing in the next connection, a few times; then it is declared. Drivers without history
        do not call it.
        """
        ...

    async def restore(self, batch: SampleBatch) -> None:
        """Hand over samples of the past, in the order of their times for each tag.

        What is here already is passed over. Waits until the device has given samples of the present, and while the
        acquisition is full.
        """
        ...

    def again(self, tags: Sequence[int]) -> None:
        """What follows of the past of the tags with these indices begins anew, at or before where it has come to.

        What came before is passed over, also of several samples with one time as many as there were.
        """
        ...

    def filled(self, tags: Sequence[int], until_ns: int) -> None:
        """The device has nothing more of the tags with these indices, up to this time of its clock."""
        ...

    def unfilled(self, part: Unfilled) -> None:
        """This is what the device cannot give; said before ``restore`` of anything that follows it."""
        ...

    async def restored(self, *, has_history: bool = True) -> None:
        """The history has given what it can; without ``has_history`` there is none, and all is declared.

        Called once after ``missing``, in the same connection; waits as ``restore`` does, and not without history.
        """
        ...

    def polled_late(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        """``tags`` were not read between these times of the agent, although the device is there.

        The times are those of the samples before and after, or the end until now. ``detail`` says how long, and why
        where that is known. What is missing is declared as a gap of these tags.
        """
        ...


class DeviceDriver(Protocol):
    """One OPC UA server over its one connection, or one Modbus unit over one that it may share with other units.

    Delivery: at least what the device offers. A driver never drops a sample that it has received; what the device
    itself lost (queue overflow) it reports with ``Acquisition.lost``, what it could not poll in time with
    ``Acquisition.polled_late``.
    """

    @property
    def lag_s_max(self) -> float:
        """How long a change at the device may take to become a sample here while nothing is wrong, in seconds.

        By so much the newest sample of one tag can be older than that of another: a gap begins as much earlier.
        Before the first connect it is what the settings ask for, afterwards no less than what the device keeps to.
        """
        ...

    async def acquire(self, acquisition: Acquisition) -> None:
        """Connect, report ``online``, then hand over samples until cancelled.

        Raises ``DeviceUnavailable`` when the device cannot be reached or the connection is lost, with a sentence for
        the operator; the caller waits and calls again. A cancellation closes the connection in an orderly way. One
        wrong tag is a ``TagProblem``, never an exception.
        """
        ...

    async def write(self, tag: int, value: Value) -> None:
        """Write ``value`` to the tag with this index, once; returns when the device has said that it has taken it.

        The value is in the engineering units of the tag: scale and offset are undone, and a register of whole numbers
        gets the nearest one. It goes before polls, and polls go on around it. It is never sent again, by whatever
        lies between. The same errors for all of it, and for ``call``:

        * ``ValueError``: the value cannot be written to this tag (its type, its range, a table or a type of the device
          that nobody can write); a sentence, nothing was sent;
        * ``DeviceUnavailable``: there is no connection, or too much waits for it; nothing was sent;
        * ``WriteRefused``: the device said no, with its code;
        * ``WriteUncertain``: it was sent, and there was no answer, or one that does not say what has become of it.
          Where no answer came the connection is made anew, so that one that comes late is taken for no other's.

        When it is cancelled after it was sent, that is as uncertain.
        """
        ...

    async def read(self, tag: int) -> Reading:
        """The value of the tag with this index, from the device, now; before polls.

        A tag that the device does not let be read has a ``Reading`` without value. Raises ``DeviceUnavailable``.
        """
        ...

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """Call a method of the device, once; what it returns.

        ``method`` names it as the driver's device files do. Raises what ``write`` raises.
        """
        ...

    def counts(self) -> Mapping[str, int]:
        """What has happened since the driver was made, by its name in snake_case: for metrics, asked every few seconds.

        A count never falls; a name that is not there has not happened yet.
        """
        ...


@runtime_checkable
class LeavingDriver(Protocol):
    """A driver that has its device keep something while there is no connection, such as a session to go on with.

    Others have no such method, and need none.
    """

    async def leave(self) -> None:
        """Nobody acquires any more: give back what the device keeps, where it can be reached at this moment.

        Called when agent or device ends, after ``acquire`` has. Takes two seconds at most, and raises nothing that the
        device is to blame for: what could not be given back, the device gives up by itself later.
        """
        ...


class DeviceWriter(Protocol):
    """A device as commands see it: by the names of its tags. The same errors as ``DeviceDriver``.

    ``ValueError`` also for a name that there is not, ``DeviceUnavailable`` also before the device is online.
    """

    async def write(self, tag: str, value: Value) -> None:
        """See ``DeviceDriver.write``."""
        ...

    async def read(self, tag: str) -> Reading:
        """See ``DeviceDriver.read``."""
        ...

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver.call``."""
        ...
