"""The journals of agents as the cloud knows them: by hellos and reports, within the transaction that takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cloud_ingest.commands import audit, audit_heads, files
from cloud_ingest.commands.incoming import Told
from cloud_ingest.commands.rules import Finding, KnownJournal, KnownStart, judge
from cloud_ingest.historian.work import KnownAgent
from connectors.commands.reports import Hello
from connectors.ports.database import Row, Session
from connectors.sparkplug.delivery import parse_epoch


async def take_hello(
    session: Session, head: audit.Head, agent: KnownAgent, told: Told, *, is_signed: bool
) -> tuple[Finding | None, str]:
    """Take a hello: it is answered, and the journal is known.

    What it found, where commands become unknown by it; and why the agent's audit log is not the one that was known.
    """
    hello = told.hello
    assert hello is not None  # noqa: S101  the caller has looked
    if not hello.start:
        hello = hello.model_copy(update={"start": told.start})
    known, audit_hash = await _known(session, agent)
    beyond = known is not None and known.start != hello.start and await _is_beyond_end(session, agent, hello.previous)
    finding = judge(hello, told.batch, known, beyond_end=beyond, is_signed=is_signed)
    await _write_start(session, agent, hello, 0 if is_signed else told.batch, hello.count if is_signed else 0)
    if finding is Finding.STALE:
        return None, ""
    restored = finding is Finding.RESTORED
    await _write(session, agent, hello, told, restored=restored)
    if hello.files is not None:
        await files.in_use(session, agent, hello.files, told.received_ms)
    number = await _number(session, agent, hello.journal)
    await session.execute(
        "INSERT INTO time_request (agent_id, tenant_id, nonce, journal, number, restored, trusted, audit_number) "
        "VALUES ($1,$2,$3,$4,$5,$6,$7,$8) "
        "ON CONFLICT (agent_id) DO UPDATE SET nonce = excluded.nonce, journal = excluded.journal, "
        "number = excluded.number, restored = excluded.restored, trusted = excluded.trusted, "
        "audit_number = excluded.audit_number",
        agent.agent_id,
        agent.tenant_id,
        hello.nonce,
        hello.journal,
        number,
        restored,
        None if hello.trusted is None else list(hello.trusted),
        hello.audit_number,
    )
    is_news = finding is Finding.OTHER or (restored and known is not None and not known.restored)
    await audit.append(session, head, _deeds(agent, hello, told, finding if is_news else None, audit_hash))
    alarm = await audit_heads.take(session, head, agent, hello, told.received_ms)
    return finding if is_news else None, alarm


async def _known(session: Session, agent: KnownAgent) -> tuple[KnownJournal | None, str]:
    """The journal, and the head of the agent's own audit log."""
    rows = await session.fetch(
        "SELECT journal, start, restored, audit_hash FROM command_journal WHERE agent_id = $1",
        agent.agent_id,
    )
    if not rows:
        return None, ""
    starts: Sequence[Row] = await session.fetch(
        "SELECT start, max(previous) AS previous, max(last_batch) AS last_batch, max(last_count) AS last_count, "
        "coalesce(max(number) FILTER (WHERE journal = $2), 0) AS number "
        "FROM command_start WHERE agent_id = $1 GROUP BY start",
        agent.agent_id,
        rows[0]["journal"],
    )
    (row,) = rows
    known = KnownJournal(
        str(row["journal"]),
        str(row["start"]),
        bool(row["restored"]),
        {
            str(one["start"]): KnownStart(one["previous"], one["last_batch"], one["number"], one["last_count"])
            for one in starts
        },
    )
    return known, str(row["audit_hash"])


async def _number(session: Session, agent: KnownAgent, journal: str) -> int:
    (row,) = await session.fetch(
        "SELECT coalesce(max(number), 0) AS number FROM command_start WHERE agent_id = $1 AND journal = $2",
        agent.agent_id,
        journal,
    )
    return int(row["number"])


async def _is_beyond_end(session: Session, agent: KnownAgent, previous: str) -> bool:
    """Whether more batches of the start before have arrived than a later start has declared."""
    if not previous:
        return False
    rows = await session.fetch(
        "SELECT FROM ledger WHERE agent_id = $1 AND epoch = $2 AND upper(arrived) - 1 > last_batch",
        agent.agent_id,
        parse_epoch(previous),
    )
    return bool(rows)


async def _write(session: Session, agent: KnownAgent, hello: Hello, told: Told, *, restored: bool) -> None:
    await session.execute(
        "INSERT INTO command_journal (agent_id, tenant_id, journal, start, heard_ms, restored, "
        "audit_number, audit_hash, locks, trusted, held) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11) "
        "ON CONFLICT (agent_id) DO UPDATE SET "
        "journal = excluded.journal, start = excluded.start, "
        "heard_ms = excluded.heard_ms, restored = excluded.restored, audit_number = excluded.audit_number, "
        "audit_hash = excluded.audit_hash, locks = excluded.locks, trusted = excluded.trusted, held = excluded.held",
        agent.agent_id,
        agent.tenant_id,
        hello.journal,
        hello.start,
        told.received_ms,
        restored,
        hello.audit_number,
        hello.audit_hash,
        list(hello.locks),
        None if hello.trusted is None else list(hello.trusted),
        json.dumps([lock.model_dump() for lock in hello.held], ensure_ascii=False),
    )


async def _write_start(session: Session, agent: KnownAgent, hello: Hello, batch: int, count: int) -> None:
    """What a hello says of its start holds also when it comes late."""
    await session.execute(
        "INSERT INTO command_start AS known (agent_id, tenant_id, start, journal, number, previous, last_batch, "
        "last_count) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (agent_id, start, journal) DO UPDATE SET "
        "number = greatest(known.number, excluded.number), previous = excluded.previous, "
        "last_batch = greatest(known.last_batch, excluded.last_batch), "
        "last_count = greatest(known.last_count, excluded.last_count)",
        agent.agent_id,
        agent.tenant_id,
        hello.start,
        hello.journal,
        hello.number,
        hello.previous,
        batch,
        count,
    )


def _deeds(agent: KnownAgent, hello: Hello, told: Told, finding: Finding | None, head: str) -> list[audit.Deed]:
    """What the audit log keeps of a hello: the head of the agent's own one when it is not ``head``, and the finding."""
    name, deeds = str(agent.name), []
    if hello.audit_hash != head:
        about_head = {"number": hello.audit_number, "hash": hello.audit_hash, "start": hello.start}
        deeds.append(audit.Deed(told.received_ms, name, "agent audit head", name, about_head))
    if finding is not None:
        about = {"journal": hello.journal, "start": hello.start, "previous": hello.previous, "number": hello.number}
        deeds.append(audit.Deed(told.received_ms, name, f"journal {finding.value}", name, about))
    return deeds
