"""Pages that are made from the code are current."""

from __future__ import annotations

from docs import conformance, pages


def test_the_reference_of_events_and_metrics_is_current() -> None:
    assert pages.EVENTS_PAGE.read_text(encoding="utf-8") == pages.events_page(), "run: make generated"


def test_the_reference_of_sparkplug_s_statements_is_current() -> None:
    assert pages.CONFORMANCE_PAGE.read_text(encoding="utf-8") == conformance.page(), "run: make generated"


def test_the_tables_of_the_benchmarks_are_those_of_the_last_results() -> None:
    page = pages.BENCHMARKS_PAGE.read_text(encoding="utf-8")
    assert page == pages.benchmarks_page(page), "run: make generated"


def test_every_event_says_when_it_happens() -> None:
    for module in (module for _, modules, _ in pages.PROGRAMS for module in modules):
        events = pages.events_of(module)
        assert len(events) > 1
        for event in events:
            words = event.__doc__ or ""
            assert words, event
            assert not words.startswith(f"{event.__name__}("), event  # what a dataclass makes up by itself
