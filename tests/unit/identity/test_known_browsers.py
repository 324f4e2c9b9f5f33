"""Marks of browsers: each is of one login, and none can be made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.identity.known_browsers import LOGINS_MAX, KnownBrowsers

KNOWN = KnownBrowsers("a secret of thirty-two characters or more")
LOGINS = st.text("abc@.", min_size=1, max_size=20)


@given(st.lists(LOGINS, min_size=1, max_size=20))
def test_the_logins_that_came_last_are_known_and_no_others(logins: list[str]) -> None:
    marks = ""
    for login in logins:
        marks = KNOWN.with_login(marks, login)
    known = list(dict.fromkeys(reversed(logins)))[:LOGINS_MAX]
    assert all(KNOWN.place(marks, login) is not None for login in known)
    assert len({KNOWN.place(marks, login) for login in known}) == len(known), "each is counted by itself"
    assert all(KNOWN.place(marks, login) is None for login in set(logins) - set(known))
    assert KNOWN.place(marks, "somebody else") is None
    assert len(marks) < 1000


@given(st.text(max_size=2000))
def test_what_is_no_mark_of_ours_is_none(marks: str) -> None:
    assert KNOWN.place(marks, "anna") is None
    assert KNOWN.place(KnownBrowsers("another secret of thirty-two characters").with_login("", "anna"), "anna") is None
    assert KNOWN.place(KNOWN.with_login(marks, "anna"), "anna") is not None


def test_a_mark_stays_the_same_so_that_what_was_counted_by_it_is_not_forgotten() -> None:
    marks = KNOWN.with_login("", "anna")
    assert KNOWN.place(KNOWN.with_login(KNOWN.with_login(marks, "bert"), "anna"), "anna") == KNOWN.place(marks, "anna")
