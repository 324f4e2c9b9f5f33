"""A change names the revision that was seen, or is refused."""

from __future__ import annotations

import pytest

from cloud_ingest.access.etags import check_match, etag, etag_of_answer, matches
from cloud_ingest.access.pages import page
from cloud_ingest.access.refused import RequestRefused, Why


@pytest.mark.parametrize("shown", ['"7"', '  "7" ', '"6", "7"', '"6","7"', "*", " * ", 'W/"7", "7"'])
def test_a_change_of_what_was_seen_is_made(shown: str) -> None:
    check_match(shown, 7)


def test_who_has_seen_an_answer_has_seen_its_revision() -> None:
    seen = etag_of_answer(etag(7), "0123456789abcdef01234567")
    check_match(seen, 7)
    assert not matches(seen, etag_of_answer(etag(7), "f" * 24)), "what is shown differs, and the revision does not"
    with pytest.raises(RequestRefused):
        check_match(seen, 8)


@pytest.mark.parametrize("shown", ['"6"', "7", '"77"', 'W/"7"', '"', '"6" "7', 'x"7"'])
def test_a_change_of_something_else_is_refused_with_what_is_there(shown: str) -> None:
    with pytest.raises(RequestRefused, match='it is "7" now') as refused:
        check_match(shown, 7)
    assert (refused.value.why, refused.value.code) == (Why.CHANGED, "changed_since")
    assert refused.value.why.value == 412


@pytest.mark.parametrize("shown", ["", "  "])
def test_a_change_that_says_nothing_of_what_was_seen_is_refused(shown: str) -> None:
    with pytest.raises(RequestRefused, match="ETag as If-Match") as refused:
        check_match(shown, 7)
    assert refused.value.why.value == 428


def test_who_reads_compares_weakly() -> None:
    assert etag("a1") == '"a1"'
    assert matches('W/"a1"', '"a1"')
    assert matches('"b", W/"a1"', 'W/"a1"')
    assert matches("*", '"a1"')
    assert not matches('"a"', '"a1"')
    assert not matches("", '"a1"')


def test_a_page_says_where_the_next_one_begins() -> None:
    assert page(["a", "b", "c"], 2, str) == (["a", "b"], "b")
    assert page(["a", "b"], 2, str) == (["a", "b"], None)
    assert page([], 2, str) == ([], None)
