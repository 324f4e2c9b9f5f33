"""Pages that are made from the code are current."""

from __future__ import annotations

from docs import cli_page, conformance, pages, permissions_page


def test_the_reference_of_events_and_metrics_is_current() -> None:
    assert pages.EVENTS_PAGE.read_text(encoding="utf-8") == pages.events_page(), "run: make generated"


def test_the_reference_of_sparkplug_s_statements_is_current() -> None:
    assert pages.CONFORMANCE_PAGE.read_text(encoding="utf-8") == conformance.page(), "run: make generated"


def test_the_table_of_routes_and_roles_is_current() -> None:
    assert permissions_page.PERMISSIONS_PAGE.read_text(encoding="utf-8") == permissions_page.page(), "make generated"


def test_the_reference_of_the_command_is_current_and_every_command_says_what_it_does() -> None:
    assert cli_page.CLI_PAGE.read_text(encoding="utf-8") == cli_page.page(), "run: make generated"
    assert [words for words, command in cli_page.commands() if not command.help] == []


def test_every_command_that_says_something_says_it_to_programs_too() -> None:
    silent = [words for words, command in cli_page.commands() if "--json" not in str([p.opts for p in command.params])]
    own_words = {"edge-agent run", "edge-agent launch", "edge-agent schema"}
    assert set(silent) <= own_words, "logs and a JSON Schema are what these print"


def test_the_tables_of_the_benchmarks_are_those_of_the_last_results() -> None:
    page = pages.BENCHMARKS_PAGE.read_text(encoding="utf-8")
    assert page == pages.benchmarks_page(page), "run: make generated"


def test_the_diagram_of_an_order_s_states_is_that_of_its_rules() -> None:
    page = pages.ORDERS_PAGE.read_text(encoding="utf-8")
    assert page == pages.orders_page(page), "run: make generated"


def test_every_event_says_when_it_happens() -> None:
    for module in (module for _, modules, _ in pages.PROGRAMS for module in modules):
        events = pages.events_of(module)
        assert len(events) > 1
        for event in events:
            words = event.__doc__ or ""
            assert words, event
            assert not words.startswith(f"{event.__name__}("), event  # what a dataclass makes up by itself
