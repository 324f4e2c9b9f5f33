"""Builds that break what is promised of commands are found, each by what it breaks; the seeds are clean without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count, islice
from typing import Any, Final

import pytest

from cloud_ingest.commands import reports
from cloud_ingest.commands.relay import Relay
from cloud_ingest.commands.requests import Requests
from connectors.model.errors import EventLogUnavailable
from tests import broken_commands
from tests.broken_commands import replaced
from tests.simulation.plan import COMMANDS_EVERY
from tests.simulation.seeds import replay_command, run_seeds

SEEDS_MAX: Final = 500
"""What the rarest of them breaks shows in one seed of some hundred, and in which one changes with every message."""
OTHER_REASONS: Final = ("has caught a defect", "has not ended", "ended with", "Traceback")
"""Violations that say that the build does not work at all: that would be no proof of anything."""


def two_commands_for_one_key() -> AbstractContextManager[None]:
    """Who asks again with the same key has another command."""
    take = Requests.take
    asked = count()

    async def broken(self: Requests, request: Any, *, tenant_id: int, issuer: str, key: str) -> Any:
        return await take(self, request, tenant_id=tenant_id, issuer=issuer, key=f"{key} {next(asked)}")

    return replaced(Requests, "take", broken)


def late_reports_count() -> AbstractContextManager[None]:
    """A report changes the state of a command that is further already."""
    return replaced(reports, "permitted", lambda party, later, earlier: later is not earlier)


def what_is_not_published_is_passed_over() -> AbstractContextManager[None]:
    """States that the event log did not take are not offered to it again."""
    publish = Relay.publish

    async def broken(self: Relay) -> int:
        try:
            return await publish(self)
        except EventLogUnavailable:
            pass
        statement = "UPDATE command_relay SET state_id = $2 WHERE tenant_id = $1 AND state_id < $2"
        async with self._database.session() as session:
            await session.execute(statement, 1, 1_000_000)
        return 0

    return replaced(Relay, "publish", broken)


BUILDS: Final[dict[str, tuple[Callable[[], AbstractContextManager[None]], str]]] = {
    "write before the journal": (broken_commands.write_before_the_journal, "was written 2 times"),
    "recovery writes again": (broken_commands.recovery_writes_again, "was written 2 times"),
    "no replay check": (broken_commands.no_replay_check, "was written 2 times"),
    "no read-back": (broken_commands.no_read_back, "which its press has never held"),
    "two commands for one key": (two_commands_for_one_key, "is 2 commands"),
    "late reports count": (late_reports_count, "its state has gone back"),
    "what is not published is passed over": (
        what_is_not_published_is_passed_over,
        "states of commands are not published",
    ),
}
"""By name: the build, and what is said of it."""


@pytest.mark.slow
@pytest.mark.timeout(900)  # some seconds on a quiet machine
@pytest.mark.parametrize("name", BUILDS)
def test_a_broken_build_of_commands_is_found_by_what_it_breaks(name: str) -> None:
    build, said = BUILDS[name]
    tried: list[int] = []
    found: list[str] = []
    with build():
        for outcome in run_seeds(islice(count(0, COMMANDS_EVERY), SEEDS_MAX)):
            tried.append(outcome.seed)
            found = [violation for violation in outcome.violations if said in violation]
            others = [each for each in outcome.violations if any(reason in each for reason in OTHER_REASONS)]
            assert others == [], f"{replay_command(outcome.seed)} with {name}"
            if found:
                break
    assert found, f"{name} was not found in the seeds {tried}"
    for outcome in run_seeds(tried[-3:]):
        assert outcome.violations == [], replay_command(outcome.seed)
