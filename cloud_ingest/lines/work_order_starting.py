"""Recipes and set-points on their way to the machines: one command after the other, by the path of all commands.

Each is asked for with a key of its own: who goes on after a crash asks again, and gets the command that is there. A
work order runs when the last of them has succeeded. What has failed is shown with its command, and the start can be
tried again. Approvals are given, as for every command, by somebody else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final, assert_never

from pydantic import ValidationError

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.commands.requests import Requests
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines.work_order_book import Act, change, lock_job, settle
from cloud_ingest.lines.work_order_deeds import fail_start
from cloud_ingest.lines.work_order_rules import OVER, Step, WorkOrderState, Write, next_write
from connectors.commands.envelope import WriteTag
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row

EXPIRES_S: Final = 600.0
"""So long a value may wait for its agent, or for somebody's approval."""
_WRITES: Final = (
    "SELECT w.*, arm.state AS arm_state, done.state AS state, "
    "(SELECT coalesce(nullif(s.code, ''), '') || ' ' || s.reason FROM command_state s WHERE NOT s.is_late "
    "    AND s.command_id = coalesce(w.command, w.arm_command) ORDER BY s.state_id DESC LIMIT 1) AS detail "
    "FROM work_order_write w LEFT JOIN command arm ON arm.command_id = w.arm_command "
    "LEFT JOIN command done ON done.command_id = w.command "
    "WHERE w.work_order_id = $1 AND w.attempt = $2 AND EXISTS (SELECT FROM work_order o "
    "    WHERE o.work_order_id = $1 AND o.attempt = $2 AND o.download = 'under_way') ORDER BY w.place"
)
"""Of a start that was aborted meanwhile there are none any more."""


class Starter:
    """Lets the starts go on that are under way; one process at a time does it."""

    def __init__(self, database: Database, requests: Requests, clock: Clock) -> None:
        self._database = database
        self._requests = requests
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def go_on(self) -> None:
        """Ask for what comes next of every start; raises ``DatabaseUnavailable``."""
        async with self._one_at_a_time:
            async with self._database.session() as session:
                starting = await session.fetch("SELECT * FROM work_order WHERE download = 'under_way'")
            for row in starting:
                while await self._step(row):
                    pass
            await self._take_back()

    async def _step(self, row: Row) -> bool:
        """Do the next thing of a start; whether something can follow at once."""
        writes = await self._writes(row)
        place, step = next_write([_write(one) for one in writes])
        match step:
            case Step.WAIT:
                return False
            case Step.ARM | Step.EXECUTE:
                await self._ask(row, writes[place], step)
                return True
            case Step.FAILED | Step.DONE:
                await self._end(row, None if step is Step.DONE else _why(writes[place]))
                return False
            case _:
                assert_never(step)

    async def _writes(self, row: Row) -> Sequence[Row]:
        async with self._database.session() as session:
            return await session.fetch(_WRITES, row["work_order_id"], row["attempt"])

    async def _ask(self, row: Row, write: Row, step: Step) -> None:
        key = f"work order {row['work_order_id']} start {row['attempt']} {write['place']} {step}"
        column, asked, refused = "arm_command" if step is Step.ARM else "command", None, ""
        try:
            request = CommandRequest(
                agent=write["agent"],
                action=WriteTag(do="write", device=write["device"], tag=write["tag"], value=json.loads(write["value"])),
                reason=f"work order {row['work_order_id']}: {write['parameter']}",
                correlation=row["work_order_id"],
                precondition=write["precondition"],
                stage="arm" if step is Step.ARM else "execute",
                armed=write["arm_command"] if step is Step.EXECUTE else None,
                expires_s=EXPIRES_S,
            )
            taken = await self._requests.take(request, tenant_id=row["tenant_id"], issuer=row["started_by"], key=key)
            asked = taken.command
        except RequestRefused as exc:
            refused = str(exc)
        except ValidationError as exc:  # settings allow what a command has no room for
            refused = f"no command can say this: {exc.errors()[0]['msg']}"
        async with self._database.session() as session:
            await session.execute(
                f"UPDATE work_order_write SET {column} = $4, refused = $5 "  # noqa: S608  one of two names of ours
                "WHERE work_order_id = $1 AND attempt = $2 AND place = $3",
                row["work_order_id"],
                row["attempt"],
                write["place"],
                asked,
                refused[:1000],
            )

    async def _end(self, row: Row, why: str | None) -> None:
        """Let the work order run, or say why it does not."""
        act = Act(row["tenant_id"], self._clock.now_ns(), row["started_by"])
        async with unit_of_work(self._database) as work:
            job = await lock_job(work.session, row["tenant_id"], row["work_order_id"])
            now = next(one for one in job.values() if one["work_order_id"] == row["work_order_id"])
            if now["download"] != "under_way" or now["attempt"] != row["attempt"] or now["state"] in OVER:
                return
            if why is None:
                await change(work, act, now, WorkOrderState.RUNNING)
            else:
                await fail_start(work, act, now, why)
            await settle(work, act, (row["site"], row["line"]))

    async def _take_back(self) -> None:
        """Take back commands of starts that were aborted, as far as their agents have not done them."""
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT command_id, started_by, o.tenant_id FROM work_order o JOIN work_order_write w "
                "USING (work_order_id) JOIN command ON command_id IN (w.arm_command, w.command) "
                "WHERE o.download = 'failed' AND w.attempt = o.attempt AND command.cancellation IS NULL "
                "AND command.state IN ('requested', 'approved', 'sent', 'received')"
            )
        for row in rows:
            try:
                reason = "the work order does not start"
                await self._requests.cancel(
                    row["command_id"], tenant_id=row["tenant_id"], actor=row["started_by"], reason=reason
                )
            except RequestRefused:
                continue  # it is being done, or over


def _write(row: Row) -> Write:
    return Write(row["is_armed"], row["arm_state"], row["state"], row["refused"])


def _why(row: Row) -> str:
    target = f"{row['parameter']} ({row['agent']} {row['device']}/{row['tag']})"
    if row["refused"]:
        return f"{target}: {row['refused']}"
    command = row["command"] or row["arm_command"]
    return f"{target}: command {command} is {row['state'] or row['arm_state']}: {str(row['detail']).strip()}"
