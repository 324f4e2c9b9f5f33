"""By agent, start and journal, the highest number of a command that was seen: what a restored journal is known by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cloud_ingest.historian.work import KnownAgent
from connectors.ports.database import Session

Numbers = Mapping[tuple[KnownAgent, str, str], int]


def statement(first: int, condition: str = "") -> str:
    """The statement that takes numbers, whose parameters (``columns``) are ``$first`` and those that follow.

    It does so where ``condition`` holds, which has its ``WHERE``.
    """
    agents, tenants, starts, journals, numbers = (f"${first + place}" for place in range(5))
    return (
        "INSERT INTO command_start AS known (agent_id, tenant_id, start, journal, number) "  # noqa: S608  of our own
        f"SELECT * FROM unnest({agents}::int[], {tenants}::int[], {starts}::text[], {journals}::text[], "
        f"{numbers}::bigint[]) {condition} "
        "ON CONFLICT (agent_id, start, journal) DO UPDATE SET number = greatest(known.number, excluded.number)"
    )


_TAKE: Final = statement(1)


def columns(numbers: Numbers) -> list[list[Any]]:
    """The parameters of ``statement``."""
    return [
        [agent.agent_id for agent, _, _ in numbers],
        [agent.tenant_id for agent, _, _ in numbers],
        [start for _, start, _ in numbers],
        [journal for _, _, journal in numbers],
        list(numbers.values()),
    ]


async def take(session: Session, numbers: Numbers) -> None:
    """Note ``numbers``, where there are any, each where it is higher than the one that is known."""
    if numbers:
        await session.execute(_TAKE, *columns(numbers))
