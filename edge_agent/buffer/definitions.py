"""Definitions and aliases in an open outbox. Whoever calls what writes has begun a transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Final

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, MetricDefinition, TagType
from connectors.sparkplug.definition import make_definition, read_definition
from edge_agent.buffer.rows import Kind
from edge_agent.buffer.sealing import Sealing, alias_place, definition_place

ALIAS_FIRST: Final = 1 << 14
"""Aliases from here to 2,097,151 are three bytes on the wire, whichever it is: metrics of one type are equally long."""

ALIAS_END: Final = 1 << 30
"""A number from here on was never given: it is noise."""

ALIAS_TOP_IN_META: Final = "alias_top"


class Definitions:
    """What devices tell, and what their tags are called on the wire."""

    def __init__(self, connection: sqlite3.Connection, sealing: Sealing) -> None:
        self._connection = connection
        self._sealing = sealing

    def enter(self, device: DeviceName, types: Sequence[TagType], now_ms: int) -> DeviceDefinition:
        """Store the definition of ``device`` with these tags; one that was damaged, or whose key is lost, is mended."""
        definition = make_definition(device, self._metrics(device, types))
        if not self._has(definition):
            self._connection.execute(
                "INSERT INTO definition (hash, device, body, created_ms) VALUES (?,?,?,?) "
                "ON CONFLICT (hash) DO UPDATE SET body=excluded.body",
                (
                    definition.hash,
                    device,
                    self._sealing.seal_bytes(definition.body, definition_place(definition.hash)),
                    now_ms,
                ),
            )
        self._connection.execute(
            "INSERT INTO device_state (device, definition) VALUES (?,?) "
            "ON CONFLICT (device) DO UPDATE SET definition=excluded.definition",
            (device, definition.hash),
        )
        return definition

    def read(self, hash_: str) -> DeviceDefinition | None:
        """The definition with this hash; ``None`` when there is none, it is damaged, or its key is lost."""
        row = self._connection.execute("SELECT body FROM definition WHERE hash=?", (hash_,)).fetchone()
        with contextlib.suppress(PayloadInvalid):
            body = b"" if row is None else self._sealing.open_bytes(row[0], definition_place(hash_))
            found = read_definition(body)
            return found if found.hash == hash_ else None
        return None

    def acknowledged(self) -> set[DefinitionHash]:
        """The definitions that the cloud has."""
        return {
            DefinitionHash(row[0]) for row in self._connection.execute("SELECT hash FROM definition WHERE acknowledged")
        }

    def is_told(self, definition: DeviceDefinition) -> bool:
        """Whether the cloud has it, or a row waits that tells it; neither is so when it was refused."""
        query = "SELECT 1 FROM definition WHERE hash=? AND acknowledged"
        if self._connection.execute(query, (definition.hash,)).fetchone() is not None:
            return True
        query = "SELECT payload, epoch, batch, lane FROM outbox WHERE kind=? AND definition=?"
        for payload, epoch, batch, lane in self._connection.execute(query, (Kind.DEFINITION, definition.hash)):
            with contextlib.suppress(PayloadInvalid):  # a row that is damaged tells nothing
                if self._sealing.open_batch(payload, epoch, batch, lane) == definition.body:
                    return True
        return False

    def _has(self, definition: DeviceDefinition) -> bool:
        """Whether it is stored as it is: compared, not read, which would take as much memory as it takes itself."""
        row = self._connection.execute("SELECT body FROM definition WHERE hash=?", (definition.hash,)).fetchone()
        with contextlib.suppress(PayloadInvalid):
            return (
                row is not None
                and self._sealing.open_bytes(row[0], definition_place(definition.hash)) == definition.body
            )
        return False

    def _metrics(self, device: DeviceName, types: Sequence[TagType]) -> list[MetricDefinition]:
        known = self._aliases(device, types)
        metrics: list[MetricDefinition] = []
        for tag in types:
            alias = known[tag.name, int(tag.datatype)]
            if alias is None:
                alias = known[tag.name, int(tag.datatype)] = self._new_alias(device, tag)
            datatype = DataType(tag.datatype)
            metrics.append(MetricDefinition(alias, tag.name, datatype, tag.unit, tag.description, tag.limits))
        return metrics

    def _aliases(self, device: DeviceName, types: Sequence[TagType]) -> dict[tuple[str, int], int | None]:
        """By name and type. Where a key was lost and came back, a tag has two: the newer one counts."""
        query = "SELECT alias, name, datatype FROM alias WHERE device=? ORDER BY alias"
        known: dict[tuple[str, int], int | None] = {(tag.name, int(tag.datatype)): None for tag in types}
        for alias, name, datatype in self._connection.execute(query, (device,)):
            with contextlib.suppress(PayloadInvalid):  # nobody knows whose it was: it stays taken
                if (tag := (self._sealing.open_text(name, alias_place(alias)), datatype)) in known:
                    known[tag] = alias
        return known

    def _new_alias(self, device: DeviceName, tag: TagType) -> int:
        alias = highest_alias(self._connection) + 1
        name = self._sealing.seal_text(tag.name, alias_place(alias))
        self._connection.execute(
            "INSERT INTO alias (device, name, datatype, alias) VALUES (?,?,?,?)",
            (device, name, int(tag.datatype), alias),
        )
        return alias


def highest_alias(connection: sqlite3.Connection) -> int:
    """No higher alias was ever given, also by a file that is gone."""
    (top,) = connection.execute("SELECT max(alias) FROM alias WHERE alias<?", (ALIAS_END,)).fetchone()
    row = connection.execute("SELECT value FROM meta WHERE key=?", (ALIAS_TOP_IN_META,)).fetchone()
    reserved = row[0] if row is not None and type(row[0]) is int and row[0] < ALIAS_END else 0
    return max(ALIAS_FIRST - 1, top or 0, reserved)


def reserve_aliases(connection: sqlite3.Connection, top: int) -> None:
    """Aliases up to ``top`` may belong to tags that this file does not know any more: none of them is given again."""
    if top > highest_alias(connection):
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)", (ALIAS_TOP_IN_META, top))
