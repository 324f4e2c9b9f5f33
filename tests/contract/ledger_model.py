"""What the delivery ledger should say, by sets of numbers alone; see "The ledger" in docs/protocol/delivery.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from connectors.model.delivery import Epoch
from tests.played_agent import Wire


@dataclass(frozen=True)
class Sent:
    """A numbered message, and what the ledger makes of it when it comes.

    ``needs``: the definition of its samples, by hash; empty for a record. ``defines``: the one that it brings.
    """

    wire: Wire
    epoch: Epoch
    batch: int
    needs: str = ""
    samples: int = 0
    is_readable: bool = True
    defines: str = ""
    starts_at: int | None = None
    earlier: tuple[tuple[Epoch, int, int], ...] = ()
    names: tuple[tuple[Epoch, int], ...] = ()
    """Batches that it declares as given up."""

    @property
    def key(self) -> tuple[Epoch, int]:
        return self.epoch, self.batch


@dataclass
class EpochModel:
    """A row of the ledger. ``made`` numbers the transaction that entered it."""

    made: int
    arrived: set[int] = field(default_factory=set)
    parked: dict[int, Sent] = field(default_factory=dict)
    waits_long: set[int] = field(default_factory=set)
    first: int | None = None
    last: int | None = None
    samples: int = 0
    duplicates: int = 0
    closed: set[int] = field(default_factory=set)
    has_closed_end: bool = False

    @property
    def numbered(self) -> set[int]:
        """From the first batch that is known to the last one."""
        begin = self.first if self.first is not None else min(self.arrived, default=None)
        return set() if begin is None else set(range(begin, max(self.last or 0, *self.arrived, 0) + 1))


@dataclass(frozen=True)
class Closing:
    """What closing some batches should do; ``is_refused``: nothing, as they may still come, or are not missing."""

    batches: set[int]
    end: bool
    letters: int
    is_refused: bool


class LedgerModel:
    """The ledger of one agent."""

    def __init__(self) -> None:
        self.epochs: dict[Epoch, EpochModel] = {}
        self.known: set[str] = set()
        """Definitions."""
        self._named: dict[Epoch, set[int]] = defaultdict(set)
        self._open: dict[Epoch, set[int]] = defaultdict(set)
        self._shut: dict[Epoch, set[int]] = defaultdict(set)
        self._set_aside: set[str] = set()
        self._transactions = 0

    # -- what happens --------------------------------------------------------------------------------------------------

    def store(self, messages: Sequence[Sent]) -> None:
        """A historian stores a run of the log.

        A batch that it has already met ends a transaction, and a definition has what waits for it stored before
        the transaction that it comes with.
        """
        for part in transactions(messages):
            self._transactions += 1
            for message in part:
                if message.defines and message.batch not in self._entry(message.epoch).arrived:
                    self.learn(message.defines)
                    self.unpark(message.defines)
            for message in part:
                self._take(message)

    def replay(self, message: Sent) -> str:
        """What becomes of the dead letter of ``message`` when it is replayed."""
        epoch = self.epochs.get(message.epoch)
        if message.batch not in self._open[message.epoch]:
            return "closed"
        if epoch is None or message.batch not in epoch.arrived:
            if not message.is_readable or (message.needs and message.needs not in self.known):
                return "failed"
            self.store([message])
            self._shut_letter(message)
            return "stored"
        self._shut_letter(message)
        return "arrived"

    def learn(self, definition: str) -> None:
        """A definition is known from now on."""
        self.known.add(definition)

    def unpark(self, definition: str) -> None:
        """What waits for a definition is stored, or set aside."""
        for number, epoch in self.epochs.items():
            for batch in [batch for batch, sent in epoch.parked.items() if sent.needs == definition]:
                sent = epoch.parked.pop(batch)
                epoch.waits_long.discard(batch)
                epoch.samples += sent.samples
                if not sent.is_readable:
                    epoch.arrived.remove(batch)
                    self._open[number].add(batch)

    def refuse(self, message: Sent) -> None:
        """The ingest sets a message aside that the log does not take."""
        self._open[message.epoch].add(message.batch)
        if message.defines:
            self._set_aside.add(message.defines)

    def wait_long(self) -> None:
        """Whatever is parked has been for more than a quarter of an hour."""
        for epoch in self.epochs.values():
            epoch.waits_long |= set(epoch.parked)

    def close(self, number: Epoch, wanted: set[int] | None) -> Closing:
        """A person closes ``wanted`` batches of an epoch, or all that is missing of it."""
        epoch, missing = self.epochs[number], self.missing(number)
        closing = missing if wanted is None else missing & wanted
        is_open = epoch.last is None
        is_newest = not any(one.last is None and one.made > epoch.made for one in self.epochs.values())
        end = wanted is None and is_open and not is_newest and not epoch.has_closed_end
        strange = set() if wanted is None else wanted - missing - self.closed(number)
        may_come = closing - self._in_letters(number) - self.stuck(number)
        letters = self._open[number] & closing
        found = Closing(closing, end, len(letters), bool(strange or (may_come and is_open and is_newest)))
        if not found.is_refused:
            epoch.closed |= closing
            epoch.has_closed_end |= end
            self._open[number] -= letters
            self._shut[number] |= letters
        return found

    # -- what is to be seen --------------------------------------------------------------------------------------------

    def arrived(self, number: Epoch) -> set[int]:
        return self.epochs[number].arrived - self._waiting_in_vain(number)

    def missing(self, number: Epoch) -> set[int]:
        expected = self.epochs[number].numbered | self._open[number]
        return expected - self._explained(number) - self.arrived(number)

    def given_up(self, number: Epoch) -> set[int]:
        return self._named[number] - self.arrived(number)

    def closed(self, number: Epoch) -> set[int]:
        return (self._shut[number] | self.epochs[number].closed) - self._named[number] - self.arrived(number)

    def stuck(self, number: Epoch) -> set[int]:
        return self._waiting_in_vain(number) - self._explained(number)

    def parked(self) -> dict[tuple[Epoch, int], str]:
        """Batches that wait, and for which definition."""
        return {
            (number, batch): sent.needs for number, epoch in self.epochs.items() for batch, sent in epoch.parked.items()
        }

    # ------------------------------------------------------------------------------------------------------------------

    def _entry(self, number: Epoch) -> EpochModel:
        return self.epochs.setdefault(number, EpochModel(self._transactions))

    def _take(self, message: Sent) -> None:
        epoch = self._entry(message.epoch)
        if message.batch in epoch.arrived:
            epoch.duplicates += 1
        elif message.needs and message.needs not in self.known:
            epoch.arrived.add(message.batch)
            epoch.parked[message.batch] = message
        elif not message.is_readable:
            self._open[message.epoch].add(message.batch)
        else:
            epoch.arrived.add(message.batch)
            epoch.samples += message.samples
            self._take_record(epoch, message)

    def _take_record(self, epoch: EpochModel, message: Sent) -> None:
        for number, batch in message.names:
            self._named[number].add(batch)
        if message.starts_at is not None:
            epoch.first = message.starts_at
        for number, first, last in message.earlier:
            before = self._entry(number)
            before.first = first if before.first is None else min(first, before.first)
            before.last = last if before.last is None else max(last, before.last)

    def _shut_letter(self, message: Sent) -> None:
        self._open[message.epoch].discard(message.batch)
        self._shut[message.epoch].add(message.batch)

    def _explained(self, number: Epoch) -> set[int]:
        return self._named[number] | self._shut[number] | self.epochs[number].closed

    def _in_letters(self, number: Epoch) -> set[int]:
        return self._open[number] - self._explained(number) - self.epochs[number].arrived

    def _waiting_in_vain(self, number: Epoch) -> set[int]:
        """Stuck, explained or not."""
        epoch = self.epochs[number]
        in_letters = {batch for batch, sent in epoch.parked.items() if sent.needs in self._set_aside}
        return epoch.waits_long | in_letters


def transactions(messages: Sequence[Sent]) -> Iterator[list[Sent]]:
    """How a run of the log is divided: a batch that comes twice begins another one."""
    part: list[Sent] = []
    for message in messages:
        if message.key in {before.key for before in part}:
            yield part
            part = []
        part.append(message)
    if part:
        yield part
