"""Who has failed to log in too often waits, by account and by address.

An attempt is counted before the password is looked at, and taken back when it was right: so a thousand at once are as
many as one after the other. An account that does not exist is counted alike.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.identity.rules import ACCOUNT_FREE, ADDRESS_FREE, FORGOTTEN_S, Attempts
from connectors.ports.clock import Clock
from connectors.ports.database import Database

_SWEEP: Final = "DELETE FROM identity_attempt WHERE last_failure < to_timestamp($1)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where attempts are counted, and how many of them cost no waiting."""

    name: str
    free: int


def account(login: str) -> Place:
    """That of an account, whether it exists or not."""
    return Place(f"account:{login}", ACCOUNT_FREE)


def address(text: str) -> Place:
    """That of an address; of IPv6, its network (/64), as one asker has all of it."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return Place("address:unknown", ADDRESS_FREE)
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        name = str(mapped) if mapped is not None else str(ipaddress.ip_network((found, 64), strict=False))
    else:
        name = str(found)
    return Place(f"address:{name}", ADDRESS_FREE)


class AttemptBook:
    """The table ``identity_attempt``, shared by all processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, *places: Place) -> None:
        """Count an attempt at each of ``places``. Raises ``RequestRefused`` (429) when one of them is closed now."""
        now_s = self._clock.now_ns() / 1e9
        ordered = sorted(places, key=lambda place: place.name)
        async with self._database.transaction() as session:
            await session.execute(_SWEEP, now_s - FORGOTTEN_S)
            found: list[tuple[Place, Attempts]] = []
            for place in ordered:
                await session.execute(
                    "INSERT INTO identity_attempt (place, failures, last_failure, closed_until) "
                    "VALUES ($1, 0, to_timestamp($2), to_timestamp(0)) ON CONFLICT DO NOTHING",
                    place.name,
                    now_s,
                )
                (row,) = await session.fetch(
                    "SELECT failures, extract(epoch FROM last_failure)::float8 AS last_s, "
                    "extract(epoch FROM closed_until)::float8 AS until_s FROM identity_attempt "
                    "WHERE place = $1 FOR UPDATE",
                    place.name,
                )
                found.append((place, Attempts(int(row["failures"]), row["last_s"], row["until_s"])))
            wait_s = max(held.wait_s(now_s) for _, held in found)
            if wait_s > 0:
                seconds = math.ceil(wait_s)
                why = f"too many attempts to log in have failed: the next is possible in {seconds} s"
                raise RequestRefused(Why.TOO_MANY, "locked_out", why, seconds)
            for place, held in found:
                after = held.failed(now_s, place.free)
                await session.execute(
                    "UPDATE identity_attempt SET failures = $2, last_failure = to_timestamp($3), "
                    "closed_until = to_timestamp($4) WHERE place = $1",
                    place.name,
                    after.failures,
                    after.last_s,
                    after.closed_until_s,
                )

    async def succeeded(self, place: Place, address_place: Place | None = None) -> None:
        """The attempt was none that failed. The address keeps its others: one account of theirs opens no more."""
        async with self._database.transaction() as session:
            await session.execute("DELETE FROM identity_attempt WHERE place = $1", place.name)
            if address_place is not None:
                await session.execute(
                    "UPDATE identity_attempt SET failures = greatest(failures - 1, 0), closed_until = to_timestamp(0) "
                    "WHERE place = $1",
                    address_place.name,
                )
