"""What a demo has shown: samples that were read, rows that are stored, and whether every one is accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DeviceCount:
    """One device: samples that the agent read since it started, and rows in PostgreSQL since the folder was made."""

    device: str
    read: int
    rows: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a demo in numbers. ``read``, ``stored`` and ``waiting`` are samples of this start of the agent."""

    devices: tuple[DeviceCount, ...]
    read: int
    stored: int
    waiting: int
    starts: int
    batches: int
    samples: int
    duplicates: int
    missing: int
    gaps: Mapping[str, int]
    """How many gaps were declared, by reason."""
    dead_letters: int

    def problems(self) -> list[str]:
        """What is wrong, in sentences; nothing when every sample is accounted for."""
        found = [f"nothing of the device {d.device} is stored" for d in self.devices if d.rows == 0]
        if not self.devices:
            found.append("the agent has read no device")
        if self.missing:
            found.append(f"{self.missing:,} batches are missing from the ledger")
        if self.dead_letters:
            found.append(f"{self.dead_letters:,} messages are in the dead letters")
        if self.read > self.stored + self.waiting:
            lost = self.read - self.stored - self.waiting
            found.append(f"{lost:,} samples that the agent has read are neither stored nor in its outbox")
        rows = sum(d.rows for d in self.devices)
        if rows != self.samples:
            found.append(f"the ledger says {self.samples:,} samples, but PostgreSQL has {rows:,} rows")
        return found


def make_verdict(
    status: Mapping[str, Any], ledger: Mapping[str, Any], rows: Mapping[str, int], unassigned_dead_letters: int
) -> Verdict:
    """The verdict from the agent's last status, the whole ledger, and the rows that were counted."""
    epoch = next((epoch for epoch in ledger["epochs"] if epoch["epoch"] == status["epoch"]), None)
    gaps: dict[str, int] = {}
    for gap in ledger["gaps"]:
        gaps[gap["reason"]] = gaps.get(gap["reason"], 0) + 1
    devices = [
        DeviceCount(device["device"], device["samples"], rows.get(device["device"], 0)) for device in status["devices"]
    ]
    outbox = status["outbox"]
    return Verdict(
        devices=tuple(devices),
        read=sum(device.read for device in devices),
        stored=0 if epoch is None else epoch["samples"],
        waiting=outbox["samples"] + outbox["samples_pending"],
        starts=len(ledger["epochs"]),
        batches=ledger["arrived"],
        samples=ledger["samples"],
        duplicates=ledger["duplicates"],
        missing=ledger["missing"],
        gaps=gaps,
        dead_letters=ledger["dead_letters"] + unassigned_dead_letters,
    )
