"""A rollout never goes further than its rules say: simulated to its end, whatever its agents do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.releases.rules import (
    AT_ONCE,
    AWAY_MS_MAX,
    INSTALL_MS_MAX,
    End,
    Member,
    Plan,
    Progress,
    Send,
    Wait,
    grouped,
    may_install,
    next_step,
    progress_of,
)
from connectors.commands.states import CommandState

SOAK = 1000
PLAN = Plan(SOAK, 0)
WAITING, SENT, SUCCEEDED, FAILED = Progress.WAITING, Progress.SENT, Progress.SUCCEEDED, Progress.FAILED
CANARY = Member("p/canary", 1, SUCCEEDED, since_ms=100, runs=True)
SECOND = Member("p/second", 2, WAITING)


def test_canaries_first_then_the_soak_then_the_others() -> None:
    first = Member("p/canary", 1, WAITING)
    assert next_step(PLAN, [first, SECOND], 0) == Send(("p/canary",))
    assert isinstance(next_step(PLAN, [replace(first, progress=SENT), SECOND], 10), Wait)
    assert isinstance(next_step(PLAN, [CANARY, SECOND], 100 + SOAK - 1), Wait)
    assert next_step(PLAN, [CANARY, SECOND], 100 + SOAK) == Send(("p/second",))
    done = replace(SECOND, progress=SUCCEEDED, since_ms=1200, runs=True)
    assert isinstance(next_step(PLAN, [CANARY, done], 1200 + SOAK - 1), Wait), "the last group soaks too"
    assert next_step(PLAN, [CANARY, done], 1200 + SOAK) == End(halted=False, reason="2 of 2 agents run it")


def test_the_first_failure_halts_it_and_says_whose_and_why() -> None:
    failed = Member("p/canary", 1, FAILED, 50, reason="failed: exit code 7")
    step = next_step(PLAN, [failed, SECOND], 60)
    assert step == End(halted=True, reason="p/canary: failed: exit code 7")


def test_as_many_may_fail_as_was_said_and_no_more() -> None:
    failed = Member("p/a", 1, FAILED, 50, reason="away")
    plan = Plan(SOAK, 1)
    assert next_step(plan, [failed, CANARY, SECOND], 100 + SOAK) == Send(("p/second",))
    other = replace(SECOND, progress=FAILED, since_ms=60, reason="later")
    step = next_step(plan, [failed, CANARY, other], 100 + SOAK)
    assert step == End(halted=True, reason="p/a: away (2 agents have failed)")


def test_a_group_of_which_no_agent_has_taken_it_is_the_end_however_many_may_fail() -> None:
    failed = Member("p/canary", 1, FAILED, 50, reason="away")
    assert next_step(Plan(SOAK, 5), [failed, SECOND], 10**9) == End(
        halted=True, reason="no agent of group 1 has taken it"
    )


def test_an_agent_that_is_away_after_the_soak_is_waited_for_and_then_halts_it() -> None:
    away = replace(CANARY, runs=False)
    step = next_step(PLAN, [away, SECOND], 100 + SOAK)
    assert isinstance(step, Wait)
    assert "p/canary" in step.reason
    step = next_step(PLAN, [away, SECOND], 100 + SOAK + AWAY_MS_MAX)
    assert isinstance(step, End)
    assert step.halted


def test_an_agent_that_goes_away_while_others_are_waited_for_has_its_own_time_to_come_back() -> None:
    soaked = 100 + SOAK
    late = soaked + AWAY_MS_MAX + 5000
    away = replace(CANARY, runs=False, away_ms=late - 1000)
    assert isinstance(next_step(PLAN, [away, SECOND], late), Wait), "a blip, long after the soak"
    assert isinstance(next_step(PLAN, [away, SECOND], late - 1000 + AWAY_MS_MAX - 1), Wait)
    step = next_step(PLAN, [away, SECOND], late - 1000 + AWAY_MS_MAX)
    assert isinstance(step, End)
    assert step.halted
    back = replace(away, runs=True, away_ms=0)
    assert next_step(PLAN, [back, SECOND], late + AWAY_MS_MAX) == Send(("p/second",))
    early = replace(away, away_ms=200)
    assert isinstance(next_step(PLAN, [early, SECOND], soaked + AWAY_MS_MAX - 1), Wait), "it went while it soaked"


@pytest.mark.parametrize("progress", [SENT, SUCCEEDED])
def test_once_the_next_group_has_begun_an_agent_that_is_away_halts_nothing(progress: Progress) -> None:
    away = replace(CANARY, runs=False, away_ms=200)
    begun = replace(SECOND, progress=progress, since_ms=5000, runs=True)
    waits = replace(SECOND, agent="p/third", group=3)
    now_ms = 100 + SOAK + 10 * AWAY_MS_MAX
    step = next_step(PLAN, [away, begun, waits], now_ms)
    assert isinstance(step, Wait) if progress is SENT else step == Send(("p/third",))
    if progress is SUCCEEDED:
        step = next_step(PLAN, [away, begun], now_ms)
        assert step == End(halted=False, reason="2 of 2 agents run it")


def test_an_agent_that_may_still_be_installing_has_not_failed() -> None:
    expires, unknown = 1000, 1000 + 600_000
    assert may_install(unknown, expires, unknown)
    assert may_install(unknown, expires, expires + INSTALL_MS_MAX - 1)
    assert not may_install(unknown, expires, expires + INSTALL_MS_MAX), "not for ever"
    assert not may_install(expires - 1, expires, expires), "nobody will tell what became of it: its journal is lost"
    assert progress_of(CommandState.UNKNOWN, "", may_install=True) is SENT
    for state in CommandState:
        if state is not CommandState.UNKNOWN:
            assert progress_of(state, "", may_install=True) is progress_of(state, "")


def test_a_large_group_is_not_sent_all_at_once() -> None:
    members = [Member(f"p/{number:03}", 1, WAITING) for number in range(100)]
    step = next_step(PLAN, members, 0)
    assert isinstance(step, Send)
    assert len(step.agents) == AT_ONCE
    members = [replace(each, progress=SENT) if each.agent in step.agents[1:] else each for each in members]
    assert next_step(PLAN, members, 0) == Send((members[0].agent,))


@pytest.mark.parametrize("state", list(CommandState))
def test_only_a_command_that_has_succeeded_counts_as_taken(state: CommandState) -> None:
    found = progress_of(state, "")
    assert (found is SUCCEEDED) == (state is CommandState.SUCCEEDED)
    assert progress_of(state, "no such agent") is FAILED
    ended = ("failed", "refused", "expired", "cancelled", "unknown")
    assert (found is FAILED) == (state.value in ended)
    assert progress_of(None, "") is WAITING


def test_an_agent_belongs_to_its_first_group() -> None:
    agents = ["plant-7/line-1", "plant-7/line-2", "plant-8/line-1"]
    assert grouped(agents, [["plant-7/line-1"], ["plant-7/*"], ["*/*"]]) == {
        "plant-7/line-1": 1,
        "plant-7/line-2": 2,
        "plant-8/line-1": 3,
    }


@settings(max_examples=8 * settings.default.max_examples, deadline=None)
@given(data=st.data())
def test_however_agents_behave_no_group_is_sent_before_the_one_before_is_through(data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=8))
    failures_max = data.draw(st.integers(0, 2))
    plan = Plan(SOAK, failures_max)
    members = {f"p/{at}": Member(f"p/{at}", group, WAITING) for at, group in enumerate(groups)}
    now_ms = 1
    for _ in range(200):
        step = next_step(plan, list(members.values()), now_ms)
        if isinstance(step, End):
            break
        if isinstance(step, Send):
            assert step.agents
            begun = max((each.group for each in members.values() if each.progress is not WAITING), default=0)
            for agent in step.agents:
                mine = members[agent]
                assert mine.progress is WAITING, "nobody is sent it twice"
                for other in members.values():
                    if other.group < mine.group:
                        assert other.progress in (SUCCEEDED, FAILED)
                        assert now_ms >= other.since_ms + SOAK
                        assert other.runs or other.progress is FAILED or other.group < begun
                assert sum(each.progress is FAILED for each in members.values()) <= failures_max
                members[agent] = replace(mine, progress=SENT, since_ms=now_ms)
        now_ms += data.draw(st.integers(1, 2 * SOAK))
        for name, member in members.items():
            if member.progress is SENT and data.draw(st.booleans()):
                progress = data.draw(st.sampled_from([SUCCEEDED, SUCCEEDED, SUCCEEDED, FAILED]))
                members[name] = replace(member, progress=progress, since_ms=now_ms, runs=progress is SUCCEEDED)
            elif member.progress is SUCCEEDED:
                members[name] = replace(member, runs=data.draw(st.sampled_from([True, True, True, False])))
    if isinstance(step, End) and not step.halted:
        assert all(member.progress in (SUCCEEDED, FAILED) for member in members.values())
        assert sum(member.progress is FAILED for member in members.values()) <= failures_max
