"""What may become of a command, by whom; and what hellos show of an agent's journal, in whatever order they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.access.permissions import PERMISSIONS, Permission, Role
from cloud_ingest.commands.rules import (
    UNFINISHED_MS,
    UNHEARD_MS,
    Cancelling,
    Finding,
    KnownJournal,
    KnownStart,
    Party,
    TokenRole,
    approval_problem,
    cancelling,
    ended_by_time,
    judge,
    needs_approval,
    permission_of,
    permitted,
    resend_after_ms,
    sync_of,
)
from connectors.commands.envelope import (
    Action,
    ApplyDeviceFile,
    Rebirth,
    Restart,
    RunCommand,
    SetLogLevel,
    WriteTag,
)
from connectors.commands.reports import Hello
from connectors.commands.states import FINAL, UNSENT, CommandState, may_follow

STATES = st.sampled_from(CommandState)
JOURNAL = "a" * 32
OTHER = "b" * 32


@given(st.lists(st.tuples(st.sampled_from(Party), STATES), max_size=30))
def test_a_state_never_goes_back_whoever_says_what_in_whatever_order(said: list[tuple[Party, CommandState]]) -> None:
    state, path = CommandState.REQUESTED, [CommandState.REQUESTED]
    for party, later in said:
        if permitted(party, later, state):
            state = later
            path.append(state)
    assert all(may_follow(later, earlier) for earlier, later in pairwise(path))
    assert len(path) == len(set(path))
    assert not set(path[:-1]) & FINAL  # nothing follows what is final


@given(STATES, STATES)
def test_once_it_was_sent_only_the_agent_ends_a_command(earlier: CommandState, later: CommandState) -> None:
    if earlier in UNSENT or later not in FINAL:
        return
    assert not permitted(Party.PERSON, later, earlier)
    assert not permitted(Party.CLOUD, later, earlier)
    assert permitted(Party.AGENT, later, earlier) == (earlier not in FINAL)


@given(st.sampled_from(sorted(UNSENT)), STATES)
def test_nobody_can_report_on_what_was_not_sent(earlier: CommandState, later: CommandState) -> None:
    assert not permitted(Party.AGENT, later, earlier)


@given(STATES)
def test_what_is_unknown_is_resolved_by_the_agent_alone(later: CommandState) -> None:
    assert permitted(Party.AGENT, later, CommandState.UNKNOWN) == (later in FINAL)
    assert not permitted(Party.CLOUD, later, CommandState.UNKNOWN)
    assert not permitted(Party.PERSON, later, CommandState.UNKNOWN)


@pytest.mark.parametrize(
    ("state", "how"),
    [
        *((state, Cancelling.AT_ONCE) for state in sorted(UNSENT)),
        (CommandState.SENT, Cancelling.BY_AGENT),
        (CommandState.RECEIVED, Cancelling.BY_AGENT),
        (CommandState.EXECUTING, Cancelling.TOO_LATE),
        (CommandState.UNKNOWN, Cancelling.TOO_LATE),
        *((state, Cancelling.TOO_LATE) for state in sorted(FINAL)),
    ],
)
def test_what_taking_back_means_depends_on_where_it_stands(state: CommandState, how: Cancelling) -> None:
    assert cancelling(state) is how
    assert permitted(Party.PERSON, CommandState.CANCELLED, state) == (how is Cancelling.AT_ONCE)


@given(STATES, st.integers(-1_000, UNFINISHED_MS + 1_000))
def test_time_ends_what_was_not_sent_and_makes_unknown_what_was(state: CommandState, after_ms: int) -> None:
    found = ended_by_time(state, 1_000_000, 1_000_000 + after_ms)
    if state in UNSENT:
        assert found == (CommandState.EXPIRED if after_ms >= 0 else None)
    elif state is CommandState.SENT:
        assert found == (CommandState.UNKNOWN if after_ms >= UNHEARD_MS else None)
    elif state in (CommandState.RECEIVED, CommandState.EXECUTING):
        assert found == (CommandState.UNKNOWN if after_ms >= UNFINISHED_MS else None)
    else:
        assert found is None
    assert found is None or permitted(Party.CLOUD, found, state)


def test_who_has_asked_for_it_cannot_approve_it() -> None:
    waits = CommandState.REQUESTED
    assert approval_problem(waits, needed=True, issuer="anna", approver="berta", is_over=False) == ""
    assert "another person" in approval_problem(waits, needed=True, issuer="anna", approver="anna", is_over=False)
    assert "no approval" in approval_problem(waits, needed=False, issuer="anna", approver="berta", is_over=False)
    assert "time is up" in approval_problem(waits, needed=True, issuer="anna", approver="berta", is_over=True)
    for state in set(CommandState) - {waits}:
        assert approval_problem(state, needed=True, issuer="anna", approver="berta", is_over=False)


def test_approval_is_needed_where_it_was_asked_for_or_a_pattern_names_the_target() -> None:
    write = WriteTag(device="press", tag="setpoint", value=1.0)
    run = RunCommand(device="press", command="start")
    assert not needs_approval("plant/line-1", write, False, ["plant/line-2/*", "plant/line-1/oven/*"])
    assert needs_approval("plant/line-1", write, True, [])
    assert needs_approval("plant/line-1", write, False, ["plant/*/press/set*"])
    assert needs_approval("plant/line-1", run, False, ["plant/line-1/press/start"])


def may(role: TokenRole, deed: str) -> bool:
    permission = Permission.AGENTS_CONFIGURE if deed == "configure" else Permission(f"commands:{deed}")
    return permission in PERMISSIONS[Role(role)]


def test_a_viewer_reads_an_operator_sends_and_an_approver_approves() -> None:
    assert [may("viewer", deed) for deed in ("read", "send", "approve")] == [True, False, False]
    assert [may("operator", deed) for deed in ("read", "send", "approve")] == [True, True, False]
    assert [may("approver", deed) for deed in ("read", "send", "approve")] == [True, True, True]


def test_what_is_for_the_agent_itself_is_configuring_and_needs_an_engineer() -> None:
    actions: list[Action] = [
        Restart(),
        Rebirth(),
        SetLogLevel(level="debug"),
        ApplyDeviceFile(name="a.yaml", content=""),
    ]
    assert {permission_of(action) for action in actions} == {Permission.AGENTS_CONFIGURE}
    assert permission_of(WriteTag(device="press", tag="setpoint", value=1.0)) is Permission.COMMANDS_SEND
    roles: list[TokenRole] = ["viewer", "operator", "approver", "engineer", "planner"]
    assert [may(role, "configure") for role in roles] == [False, False, False, True, False]
    assert [may("planner", deed) for deed in ("read", "send", "approve")] == [True, False, False]
    assert [may("engineer", deed) for deed in ("read", "send", "approve")] == [True, True, False]


def test_approval_of_what_is_for_the_agent_itself_is_asked_for_by_its_kind() -> None:
    file = ApplyDeviceFile(name="devices/press.yaml", content="")
    assert needs_approval("plant/line-1", file, False, ["*//apply_file"])
    assert not needs_approval("plant/line-1", file, False, ["*//restart", "plant/line-1/press/*"])
    assert needs_approval("plant/line-1", Restart(), False, ["plant/line-1/*"])


@pytest.mark.parametrize(
    ("used", "state", "newest", "newest_state", "sync"),
    [
        (0, "local", 0, None, "local"),
        (3, "in_use", 3, "applied", "in_sync"),
        (3, "trial", 3, "desired", "out_of_sync"),
        (2, "in_use", 3, "desired", "out_of_sync"),
        (0, "changed", 3, "applied", "out_of_sync"),
        (2, "failed", 3, "rolled_back", "failed"),
        (2, "in_use", 3, "refused", "failed"),
        (2, "in_use", 3, "unknown", "out_of_sync"),
    ],
)
def test_a_file_is_in_sync_when_the_agent_has_the_version_that_was_asked_for_last(
    used: int, state: str, newest: int, newest_state: Any, sync: str
) -> None:
    assert sync_of(used, state, newest, newest_state) == sync


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_it_is_sent_again_after_a_wait_that_grows_to_half_a_minute(sends: int, jitter: float) -> None:
    assert 1_000 <= resend_after_ms(sends, jitter) <= 30_000
    assert resend_after_ms(1, 1.0) == 2_000
    assert resend_after_ms(100, 1.0) == 30_000


# -- hellos ------------------------------------------------------------------------------------------------------------


@dataclass
class Cloud:
    """The cloud's knowledge of one agent, kept as ``journals`` keeps it in tables."""

    known: KnownJournal | None = None

    def hear(self, hello: Hello, batch: int) -> Finding:
        finding = judge(hello, batch, self.known)
        starts = {} if self.known is None else dict(self.known.starts)
        if self.known is not None and hello.journal != self.known.journal and finding is not Finding.STALE:
            starts = {name: replace(start, number=0) for name, start in starts.items()}
        at = starts.get(hello.start, KnownStart())
        starts[hello.start] = KnownStart(hello.previous, max(at.last_batch, batch), max(at.number, hello.number))
        if finding is not Finding.STALE or self.known is None:
            self.known = KnownJournal(hello.journal, hello.start, finding is Finding.RESTORED, starts)
        else:
            self.known = replace(self.known, starts=starts)
        return finding

    def report(self, start: str, number: int) -> None:
        if self.known is not None:
            at = self.known.starts.get(start, KnownStart())
            starts = {**self.known.starts, start: replace(at, number=max(at.number, number))}
            self.known = replace(self.known, starts=starts)


def hello(start: int, number: int = 0, *, journal: str = JOURNAL, previous: int = 0) -> Hello:
    before = f"{previous:016x}" if previous else ""
    return Hello(nonce="c" * 32, journal=journal, number=number, start=f"{start:016x}", previous=before)


@given(st.data())
def test_hellos_and_reports_of_a_whole_journal_never_look_restored_in_whatever_order_they_come(
    data: st.DataObject,
) -> None:
    told: list[tuple[str, Hello | int, int]] = []
    number = 0
    for start in range(1, data.draw(st.integers(1, 5)) + 1):
        said = hello(start, number, previous=start - 1)
        told.append((said.start, said, 1))
        for _ in range(data.draw(st.integers(0, 3))):
            number += 1
            told.append((said.start, number, 0))
        told.append((said.start, said.model_copy(update={"number": number}), 9))
    newest = told[-1]
    cloud = Cloud()
    for start, what, batch in data.draw(st.permutations(told + told[: len(told) // 2])):
        if isinstance(what, Hello):
            assert cloud.hear(what, batch) in (Finding.SAME, Finding.STALE)
        else:
            cloud.report(start, what)
    assert isinstance(newest[1], Hello)
    assert cloud.hear(newest[1], 10) is Finding.SAME  # and the agent hears the time, whatever came late


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_disk_that_was_restored_is_seen_at_the_first_hello_after_it(starts: int, back: int) -> None:
    """The image was taken in an earlier start, and knows nothing of those after it."""
    cloud = Cloud()
    for start in range(1, starts + 2):
        assert cloud.hear(hello(start, 0, previous=start - 1), 1) is Finding.SAME
    of_the_image = max(1, starts + 1 - back)
    restored = hello(99, 0, previous=of_the_image)
    assert cloud.hear(restored, 1) is Finding.RESTORED
    assert cloud.hear(restored, 2) is Finding.RESTORED  # until it has begun a new one
    assert cloud.hear(restored.model_copy(update={"journal": OTHER}), 3) is Finding.OTHER
    assert cloud.hear(restored.model_copy(update={"journal": OTHER}), 4) is Finding.SAME


def test_a_journal_that_has_forgotten_a_command_is_restored() -> None:
    cloud = Cloud()
    cloud.hear(hello(1), 1)
    cloud.report(f"{1:016x}", 7)
    assert cloud.hear(hello(2, 6, previous=1), 1) is Finding.RESTORED


def test_a_hello_that_comes_late_says_nothing() -> None:
    cloud = Cloud()
    assert cloud.hear(hello(1), 1) is Finding.SAME
    assert cloud.hear(hello(3, previous=2), 1) is Finding.SAME  # the hello of the second start is under way
    assert cloud.hear(hello(2, previous=1), 1) is Finding.STALE
    assert cloud.hear(hello(3, previous=2), 1) is Finding.STALE  # the same once more
    assert cloud.hear(hello(1), 5) is Finding.STALE


def test_more_batches_than_were_declared_are_a_sign_of_a_restored_disk() -> None:
    known = KnownJournal(JOURNAL, f"{1:016x}", False, {f"{1:016x}": KnownStart(last_batch=1)})
    assert judge(hello(2, previous=1), 1, known) is Finding.SAME
    assert judge(hello(2, previous=1), 1, known, beyond_end=True) is Finding.RESTORED


def test_of_signed_hellos_their_own_count_says_which_is_newer_and_not_the_batch() -> None:
    start = f"{1:016x}"
    known = KnownJournal(JOURNAL, start, False, {start: KnownStart(last_batch=500, last_count=3)})
    for count, batch, finding in ((3, 9000, Finding.STALE), (1, 9000, Finding.STALE), (4, 2, Finding.SAME)):
        said = hello(1).model_copy(update={"count": count})
        assert judge(said, batch, known, is_signed=True) is finding, (count, batch)
    unsigned_before = KnownJournal(JOURNAL, start, False, {start: KnownStart(last_batch=500)})
    assert judge(hello(1).model_copy(update={"count": 1}), 501, unsigned_before, is_signed=True) is Finding.SAME


def test_what_waits_at_its_agent_is_approved_only_while_it_does() -> None:
    received = CommandState.RECEIVED
    asked = {"needed": False, "issuer": "anna", "approver": "berta", "is_over": False}
    assert approval_problem(received, **asked, waits=True) == ""
    assert "it is received already" in approval_problem(received, **asked, waits=False)
    assert "another person" in approval_problem(received, **{**asked, "approver": "anna"}, waits=True)
    assert "time is up" in approval_problem(received, **{**asked, "is_over": True}, waits=True)
    assert "it is executing already" in approval_problem(CommandState.EXECUTING, **asked, waits=True)
