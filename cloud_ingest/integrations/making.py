"""Calls are made: each by one process at a time, begun durably before the vendor is asked, and ended with its effect.

A call is taken in two transactions. The first one writes down that it begins. The second one holds the row's lock while
the vendor is asked, and commits the answer with all that follows from it. A process that dies between them, or before
the second one has committed, leaves a call that may have been done: whoever takes it next asks the vendor after it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.integrations.calls import WATCHING, Again, Call, CallKind, call_of, time_of
from cloud_ingest.integrations.circuits import line_of, note_call, note_trial, read_circuit
from cloud_ingest.integrations.events import Told, integration_event
from cloud_ingest.integrations.rules import Failure, Patience, after_failure
from cloud_ingest.observability.integration_events import CallBroken, CallDone, CallFailed, CallGaveUp
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session
from connectors.ports.vendors import CALL_S_MAX, AccessRefused, CallRefused, CallUncertain, VendorUnavailable

LEASE_S: Final = 5.0
"""So long after a call was begun another process takes it up, unless its row is locked."""
WHOLE_CALL_S_MAX: Final = 2 * CALL_S_MAX
"""Looking for it, and making it."""


@dataclass(frozen=True, slots=True)
class _Failed:
    failure: Failure
    reason: str
    retry_after_s: float | None = None


class CallMaker:
    """``kinds`` by (port, kind); ``own`` are those of tenants with accounts of their own, by their names.

    ``at_kill_point`` is called behind each step at which a process can die.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        kinds: Mapping[tuple[str, str], CallKind],
        patience: Patience,
        source: random.Random | None = None,
        own: Mapping[str, Mapping[tuple[str, str], CallKind]] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._kinds = kinds
        self._patience = patience
        self._random = source or random.Random()
        self._ports: Collection[str] = sorted({port for port, _ in kinds})
        self._own = own or {}
        self._own_ports = sorted({(name, port) for name, mine in self._own.items() for port, _ in mine})

    def at_kill_point(self, step: str) -> None:
        """Tests end the process here, behind ``begun``, ``asked`` and ``written``."""

    async def make_one(self) -> bool:
        """Make the call that is due first; false when none is that can be taken now."""
        call = await self._begin()
        if call is None:
            return False
        self.at_kill_point("begun")
        kind = self._kinds_at(call.account)[call.port, call.kind]
        began_s = self._clock.monotonic_s()
        async with unit_of_work(self._database) as work:
            if not await self._still_ours(work.session, call):
                return True
            is_wanted = await kind.wanted(work.session, call)
            answer = await self._asked(kind, call, is_wanted) if is_wanted or call.may_be_done else None
            if answer is None:
                await kind.dropped(work, call)
                await self._set(work.session, call, "dropped", reason="nobody wants it any more")
                return True
            self.at_kill_point("asked")
            await self._end(work, kind, call, answer, self._clock.monotonic_s() - began_s)
            self.at_kill_point("written")
        return True

    # -- taking one ----------------------------------------------------------------------------------------------------

    def _kinds_at(self, account: str) -> Mapping[tuple[str, str], CallKind]:
        return self._own[account] if account else self._kinds

    async def _begin(self) -> Call | None:
        now_ns = self._clock.now_ns()
        async with self._database.transaction() as session:
            rows = await session.fetch(
                "SELECT integration_call.*, coalesce(own.account, '') AS account FROM integration_call "
                "JOIN tenant USING (tenant_id) LEFT JOIN unnest($3::text[], $4::text[]) AS own (account, port) "
                "    ON own.account = tenant.name AND own.port = integration_call.port "
                "LEFT JOIN integration_circuit AS circuit ON circuit.port = integration_call.port "
                "    AND circuit.account = coalesce(own.account, '') WHERE state = 'waiting' AND next_try <= $1 "
                "AND (own.account IS NOT NULL OR integration_call.port = ANY($2::text[])) "
                "AND (circuit.open_until IS NULL OR circuit.open_until <= $1) AND NOT EXISTS ("
                "    SELECT FROM integration_call AS older WHERE older.tenant_id = integration_call.tenant_id "
                "    AND older.about = integration_call.about AND older.kind = integration_call.kind "
                "    AND older.state = 'waiting' AND older.call_id < integration_call.call_id) "
                "ORDER BY next_try, call_id LIMIT 1 FOR UPDATE OF integration_call SKIP LOCKED",
                time_of(now_ns),
                list(self._ports),
                [account for account, _ in self._own_ports],
                [port for _, port in self._own_ports],
            )
            if not rows:
                return None
            call = replace(call_of(rows[0]), account=str(rows[0]["account"]))
            if (call.port, call.kind) not in self._kinds_at(call.account):
                return None
            circuit = await read_circuit(session, line_of(call), lock=True)
            if circuit.is_open(now_ns):  # another process has opened it, or sees now whether the vendor is back
                return None
            if circuit.tries_one(now_ns):
                await note_trial(session, line_of(call), circuit, now_ns, WHOLE_CALL_S_MAX)
            await session.execute(
                "UPDATE integration_call SET tries = tries + 1, may_be_done = true, next_try = $2, changed = $3 "
                "WHERE call_id = $1",
                call.call_id,
                time_of(now_ns + round(LEASE_S * 1e9)),
                time_of(now_ns),
            )
        return replace(call, number=call.number + 1)

    async def _still_ours(self, session: Session, call: Call) -> bool:
        """Lock the row; false when another process has taken it since.

        Who only looks for a call that is due may have it locked for a moment: that is waited for.
        """
        rows = await session.fetch(
            "SELECT FROM integration_call WHERE call_id = $1 AND tries = $2 AND state = 'waiting' FOR UPDATE",
            call.call_id,
            call.number,
        )
        return bool(rows)

    # -- asking, and what comes of it ----------------------------------------------------------------------------------

    async def _asked(self, kind: CallKind, call: Call, is_wanted: bool) -> Any:
        try:
            async with asyncio.timeout(WHOLE_CALL_S_MAX):
                return await kind.ask(call, is_wanted=is_wanted)
        except VendorUnavailable as exc:
            return _Failed(Failure.UNAVAILABLE, str(exc), exc.retry_after_s)
        except CallUncertain as exc:
            return _Failed(Failure.UNCERTAIN, str(exc))
        except CallRefused as exc:
            return _Failed(Failure.REFUSED, str(exc))
        except AccessRefused as exc:
            return _Failed(Failure.ACCESS, str(exc))
        except TimeoutError:
            return _Failed(Failure.UNCERTAIN, f"there was no answer within {WHOLE_CALL_S_MAX:g} s")
        except (DatabaseUnavailable, StatementRefused):  # of the built-in vendors
            raise
        except Exception as exc:  # the other calls go on
            error = f"{type(exc).__name__}: {exc}"
            emit(CallBroken(call.port, call.kind, call.about, error, traceback.format_exc()))
            return _Failed(Failure.UNCERTAIN, f"a defect of Lineside: {error}")

    async def _end(self, work: UnitOfWork, kind: CallKind, call: Call, answer: Any, duration_s: float) -> None:
        now_ns = self._clock.now_ns()
        failed = answer if isinstance(answer, _Failed) else None
        failure, why = (None, "") if failed is None else (failed.failure, failed.reason)
        await note_call(work.session, line_of(call), failure, why, now_ns)
        if failed is None:
            again = await kind.take(work, call, answer)
            if again is None:
                await self._set(work.session, call, "done")
            else:
                await self._wait(work.session, call, again)
            emit(CallDone(call.port, call.kind, call.about, "done", "", round(duration_s, 3)))
            return
        following = after_failure(
            failed.failure,
            call.failures,
            replace(self._patience, tries_max=sys.maxsize) if call.kind in WATCHING else self._patience,
            jitter=self._random.random(),
            may_be_done=call.may_be_done,
            retry_after_s=failed.retry_after_s,
        )
        await work.session.execute(
            "UPDATE integration_call SET state = $2, failures = $3, may_be_done = $4, next_try = $5, reason = $6, "
            "changed = $7 WHERE call_id = $1",
            call.call_id,
            following.state,
            following.failures,
            following.may_be_done,
            time_of(now_ns + round(following.wait_s * 1e9)),
            failed.reason,
            time_of(now_ns),
        )
        match following.state:
            case "refused":
                await kind.refused(work, call, failed.reason)
                emit(CallDone(call.port, call.kind, call.about, "refused", failed.reason, round(duration_s, 3)))
            case "dead":
                work.announce(_gave_up(call, failed.reason, now_ns))
                emit(CallGaveUp(call.call_id, call.port, call.kind, call.about, failed.reason))
            case "waiting":
                wait_s = round(following.wait_s, 1)
                emit(CallFailed(call.port, call.kind, call.about, failed.reason, following.failures, wait_s))

    async def _set(self, session: Session, call: Call, state: str, reason: str = "") -> None:
        await session.execute(
            "UPDATE integration_call SET state = $2, may_be_done = false, reason = $3, changed = $4 WHERE call_id = $1",
            call.call_id,
            state,
            reason,
            time_of(self._clock.now_ns()),
        )

    async def _wait(self, session: Session, call: Call, again: Again) -> None:
        now_ns = self._clock.now_ns()
        await session.execute(
            "UPDATE integration_call SET failures = 0, may_be_done = false, reason = '', next_try = $2, changed = $3 "
            "WHERE call_id = $1",
            call.call_id,
            time_of(now_ns + round(again.after_s * 1e9)),
            time_of(now_ns),
        )


def _gave_up(call: Call, reason: str, now_ns: int) -> Any:
    told = {"call": call.call_id, "vendor": call.port, "kind": call.kind, "about": call.about, "reason": reason}
    return integration_event(call.tenant_id, call.about, Told.CALL_GAVE_UP, now_ns, told)
