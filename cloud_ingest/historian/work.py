"""What one transaction of the historian does: everything that a run of log records comes down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloud_ingest.historian.sample_rows import SampleRows
from connectors.model.delivery import AgentName, BatchRanges, Epoch
from connectors.model.samples import SampleBatch


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """An agent or node as the database knows it."""

    agent_id: int
    tenant_id: int
    name: AgentName


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that cannot be used, and why; it counts as missing until a person closes it.

    ``definition`` is the one that it would have brought: batches that wait for it wait in vain.
    """

    topic: str
    payload: bytes
    reason: str
    received_ms: int
    agent: KnownAgent | None = None
    epoch: Epoch | None = None
    batch: int | None = None
    definition: str = ""


@dataclass(frozen=True, slots=True)
class GapRow:
    """A declared gap of a device."""

    agent: KnownAgent
    device: str
    reason: str
    first_ns: int
    last_ns: int
    count: int | None
    tags: tuple[str, ...] | None
    detail: str
    epoch: Epoch | None = None
    batches: BatchRanges = field(default_factory=BatchRanges)
    """Batches of ``epoch`` that were given up with it."""


@dataclass(frozen=True, slots=True)
class ParkedBatch:
    """A batch whose definition has not come yet."""

    agent: KnownAgent
    epoch: Epoch
    batch: int
    definition: str
    topic: str
    payload: bytes
    received_ms: int


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch of samples as other systems get it; ``parts`` hold aliases, ``names`` what they are called."""

    agent: KnownAgent
    device: str
    epoch: int
    batch: int
    received_ms: int
    parts: tuple[SampleBatch, ...]
    names: Mapping[int, str]


@dataclass(slots=True)
class LedgerEntry:
    """The ledger of one epoch, as it will be after the transaction; ``revision`` is that of the row that was read.

    ``explained`` holds the batches that gaps and people account for, as far as this process has heard of them.
    """

    arrived: BatchRanges
    samples: int = 0
    duplicates: int = 0
    started_ms: int | None = None
    first_batch: int | None = None
    last_batch: int | None = None
    revision: int = 0
    explained: BatchRanges = field(default_factory=BatchRanges)

    @property
    def has_holes(self) -> bool:
        """Whether batches between the first and the last that is known are missing, and nothing explains them."""
        first = next((begin for begin, _ in self.arrived), None) if self.first_batch is None else self.first_batch
        if first is None:
            return False
        holes = self.arrived.missing(first, max(self.last_batch or 0, self.arrived.highest or 0))
        return any(self.explained.missing(*hole) for hole in holes)


@dataclass(slots=True)
class AgentChange:
    """What became known of an agent; ``None`` leaves a column as it is."""

    last_seen_ms: int
    acknowledges: bool | None = None
    online: bool | None = None
    bd_seq: int | None = None
    seq: int | None = None
    version: str | None = None
    wants_rebirth: bool = False
    rebirth_after_ms: int = 0
    takes_rebirth_back: bool = False
    """A rebirth that is wanted for a time in the future is not wanted any more."""
    delay_ms: int | None = None
    delay_p95_ms: int | None = None
    clock_error_ms: int | None = None


@dataclass(slots=True)
class Work:
    """One transaction."""

    next_offset: int
    last_ms: int | None = None
    rows: list[SampleRows] = field(default_factory=list)
    decoded: list[DecodedBatch] = field(default_factory=list)
    ledger: dict[tuple[KnownAgent, Epoch], LedgerEntry] = field(default_factory=dict)
    gaps: list[GapRow] = field(default_factory=list)
    gaps_taken_back: list[GapRow] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    parked: list[ParkedBatch] = field(default_factory=list)
    defined: list[tuple[KnownAgent, str]] = field(default_factory=list)
    """Definitions that have come: batches may be parked for them."""
    unparked: list[ParkedBatch] = field(default_factory=list)
    """What was parked until now, and is so no longer."""
    agents: dict[KnownAgent, AgentChange] = field(default_factory=dict)
    devices_gone: dict[KnownAgent, int] = field(default_factory=dict)
    devices: dict[tuple[KnownAgent, str], tuple[bool, int]] = field(default_factory=dict)
    births: dict[tuple[KnownAgent, str], bytes] = field(default_factory=dict)
    forgotten_births: list[KnownAgent] = field(default_factory=list)
    samples: int = 0
    duplicates: int = 0
    transient: int = 0

    def change(self, agent: KnownAgent, now_ms: int) -> AgentChange:
        """The change of ``agent``, begun if there is none yet."""
        change = self.agents.get(agent)
        if change is None:
            change = self.agents[agent] = AgentChange(now_ms)
        change.last_seen_ms = max(change.last_seen_ms, now_ms)
        return change

    def take_back(self, gaps: Sequence[GapRow]) -> None:
        """What ``gaps`` declare as lost has come."""
        self.gaps_taken_back += [gap for gap in gaps if gap not in self.gaps]
        self.gaps = [gap for gap in self.gaps if gap not in gaps]

    def all_devices_gone(self, agent: KnownAgent, now_ms: int) -> None:
        """Every device of ``agent`` is offline until it is born after this."""
        self.devices_gone[agent] = now_ms
        for key in self.devices:
            if key[0] == agent:
                self.devices[key] = (False, now_ms)

    def forget_births(self, agent: KnownAgent) -> None:
        """The births of ``agent`` until now say nothing about what comes after this."""
        self.forgotten_births.append(agent)
        self.births = {key: payload for key, payload in self.births.items() if key[0] != agent}
