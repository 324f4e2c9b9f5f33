"""OEE by hand-made data: the worked example of docs/reference/oee.md, and what must hold for any line."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.analytics.rules import (
    HOUR_NS,
    Count,
    Figures,
    Loss,
    Share,
    Shift,
    Span,
    Stop,
    Told,
    class_begin_s,
    cycle_class,
    hour_of,
    notice,
    pareto,
    ratios,
)
from cloud_ingest.lines.events import LineState, StopKind

MINUTE = HOUR_NS // 60
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "oee.md"
RUNNING, STOPPED, CHANGEOVER, IDLE, PLANNED, OFFLINE = (
    LineState.RUNNING,
    LineState.STOPPED,
    LineState.CHANGEOVER,
    LineState.IDLE,
    LineState.PLANNED_STOP,
    LineState.OFFLINE,
)
EARLY = Share("early", "2026-11-23", "pump-a")


def minutes(*parts: tuple[float, str]) -> list[Span]:
    """Spans one behind the other, each with its length in minutes."""
    found: list[Span] = []
    begin = 0
    for length, what in parts:
        end = begin + round(length * MINUTE)
        found.append(Span(begin, end, what))
        begin = end
    return found


def counted(end_minute: float, good: int, reject: int = 0, product: str = "pump-a", length: float = 1) -> Count:
    end = round(end_minute * MINUTE)
    return Count(end - round(length * MINUTE), end, Decimal(good), Decimal(reject), Decimal("0.5"), product)


def worked_example() -> Told:
    """The hour of the page: 60 minutes of the early shift, with a break, a jam, a changeover and a micro-stop."""
    states = minutes((20, RUNNING), (6, STOPPED), (14, RUNNING), (5, CHANGEOVER), (5, PLANNED), (10, RUNNING))
    stops = [
        Stop(20 * MINUTE, 26 * MINUTE, "jam", StopKind.UNPLANNED),
        Stop(30 * MINUTE, 30 * MINUTE + 20 * MINUTE // 60, "", StopKind.MICRO),
        Stop(40 * MINUTE, 45 * MINUTE, "new-product", StopKind.CHANGEOVER),
    ]
    counts = [counted(20, 180, 10, length=20), counted(40, 120, 6, length=14), counted(60, 78, 6, length=10)]
    shifts = [Shift(0, 8 * HOUR_NS, "early", "2026-11-23", ((45 * MINUTE, 50 * MINUTE),))]
    return Told(states, stops, counts, [Span(0, HOUR_NS, "pump-a")], shifts, has_calendar=True)


def told(states: list[Span], stops: list[Stop] | None = None, counts: list[Count] | None = None) -> Told:
    return Told(states, stops or [], counts or [], [], [], has_calendar=False)


def test_the_worked_example_of_the_page_comes_out_as_it_says() -> None:
    hour = hour_of(0, HOUR_NS, worked_example(), {"pump-a": Decimal(6)})
    (share,) = hour.figures
    figures = hour.figures[share]
    assert share == EARLY
    assert (figures.planned_ms, figures.running_ms) == (55 * 60_000, 44 * 60_000)
    assert (figures.stopped_ms, figures.changeover_ms, figures.idle_ms) == (6 * 60_000, 5 * 60_000, 0)
    assert (figures.micro_ms, figures.micro_stops, figures.stops) == (20_000, 1, 2)
    assert (figures.good, figures.reject, figures.ideal_ms) == (378, 22, 2_400_000)
    of = ratios(figures)
    shown = {
        "Availability": of.availability,
        "Performance": of.performance,
        "Quality": of.quality,
        "OEE": of.oee,
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, value in shown.items():
        assert value is not None
        (row,) = re.findall(rf"^\| {name} \|.*= ([\d.]+) % \|$", page, re.MULTILINE)
        assert f"{100 * value:.2f}" == row, name
    assert hour.losses[EARLY, "jam", StopKind.UNPLANNED] == Loss(6 * 60_000, 1)
    assert hour.losses[EARLY, "new-product", StopKind.CHANGEOVER] == Loss(5 * 60_000, 1)
    assert hour.losses[EARLY, "", StopKind.MICRO] == Loss(20_000, 1)


def test_time_that_nobody_planned_is_no_loss_and_what_runs_in_it_counts() -> None:
    night = Told(minutes((30, STOPPED), (30, RUNNING)), [], [counted(60, 10, product="")], [], [], has_calendar=True)
    (figures,) = hour_of(0, HOUR_NS, night, {}).figures.values()
    assert (figures.planned_ms, figures.running_ms, figures.unplanned_run_ms) == (1_800_000, 1_800_000, 1_800_000)
    assert ratios(figures).availability == 1.0


@pytest.mark.parametrize(
    ("kind", "planned", "stopped", "changed", "idle"),
    [
        (StopKind.UNPLANNED, 30, 10, 0, 0),
        (StopKind.PLANNED, 20, 0, 0, 0),
        (StopKind.CHANGEOVER, 30, 0, 10, 0),
        (StopKind.IDLE, 30, 0, 0, 10),
    ],
)
def test_a_stop_counts_as_people_say_that_it_does(
    kind: StopKind, planned: int, stopped: int, changed: int, idle: int
) -> None:
    """A machine says that it stands; that it was cleaned, as planned, somebody has to say."""
    states = minutes((20, RUNNING), (10, STOPPED))
    hour = hour_of(0, HOUR_NS // 2, told(states, [Stop(20 * MINUTE, 30 * MINUTE, "x", kind)]), {})
    (figures,) = hour.figures.values()
    taken = (figures.planned_ms, figures.stopped_ms, figures.changeover_ms, figures.idle_ms)
    assert taken == tuple(60_000 * one for one in (planned, stopped, changed, idle))
    assert ratios(figures).availability == 20 / planned


def test_without_a_calendar_all_time_is_planned() -> None:
    (figures,) = hour_of(0, HOUR_NS, told(minutes((15, RUNNING), (45, STOPPED))), {}).figures.values()
    assert (figures.planned_ms, figures.running_ms) == (3_600_000, 900_000)
    assert ratios(figures).availability == 0.25


def test_what_is_not_known_is_neither_running_nor_a_loss() -> None:
    (figures,) = hour_of(0, HOUR_NS, told(minutes((10, RUNNING), (20, OFFLINE))), {}).figures.values()
    assert (figures.planned_ms, figures.unknown_ms) == (600_000, 3_000_000), "nor is the time of which nothing was told"


def test_a_product_without_a_cycle_time_leaves_the_performance_unknown_and_not_wrong() -> None:
    hour = told(minutes((60, RUNNING)), counts=[counted(30, 5, product="a"), counted(60, 5, product="b")])
    (figures,) = [
        one for share, one in hour_of(0, HOUR_NS, hour, {"a": Decimal(6)}).figures.items() if share.product == "b"
    ]
    assert (ratios(figures).performance, ratios(figures).oee) == (None, None)
    assert figures.without_ideal == 5


def made(pieces: int, running_s: int, ideal_s: str, **more: Any) -> Figures:
    ideal_ms = Decimal(pieces) * Decimal(ideal_s) * 1000
    return Figures(
        planned_ms=running_s * 1000, running_ms=running_s * 1000, good=Decimal(pieces), ideal_ms=ideal_ms, **more
    )


def test_a_performance_above_what_can_be_is_told_as_it_is_with_what_to_do_about_it() -> None:
    figures = made(200, 800, "4.5")
    assert (ratios(figures).performance, ratios(figures).oee) == (1.125, 1.125)
    assert notice(figures) == (
        "performance is 112.5%: the ideal cycle time, 4.5 s a piece, is longer than the 4 s that a piece has taken; "
        "say in the routing (ideal_cycle_s) what the line can do at its best"
    )


@pytest.mark.parametrize(("pieces", "running_s"), [(19, 600), (400, 599)])
def test_of_few_pieces_and_of_little_time_no_cycle_time_is_called_wrong(pieces: int, running_s: int) -> None:
    assert notice(made(pieces, running_s, "40")).endswith(
        "but of few pieces, and one that was begun before is counted whole: look at a longer time"
    )


def test_a_performance_that_can_be_needs_no_notice_and_one_that_is_not_known_says_why() -> None:
    assert notice(made(200, 900, "4.5")) == ""
    assert notice(Figures()) == ""
    assert notice(made(0, 900, "1", without_ideal=Decimal("12.50"))).startswith(
        "the ideal cycle time of 12.5 pieces is not known, so performance and OEE are not: they were made without"
    )


def test_a_line_that_stood_all_the_time_has_an_oee_of_nothing_and_one_without_planned_time_has_none() -> None:
    assert ratios(Figures(planned_ms=1000, stopped_ms=1000)).oee == 0.0
    assert ratios(Figures()).oee is None


def test_a_stop_over_the_end_of_an_hour_takes_its_time_of_both_and_is_counted_once() -> None:
    states = minutes((50, RUNNING), (20, STOPPED), (50, RUNNING))
    stop = [Stop(50 * MINUTE, 70 * MINUTE, "jam", StopKind.UNPLANNED)]
    share = Share("", "", "")
    first = hour_of(0, HOUR_NS, told(states, stop), {}).losses[share, "jam", StopKind.UNPLANNED]
    second = hour_of(HOUR_NS, 2 * HOUR_NS, told(states, stop), {}).losses[share, "jam", StopKind.UNPLANNED]
    assert (first, second) == (Loss(600_000, 1), Loss(600_000, 0))


def test_products_and_shifts_that_change_within_the_hour_are_told_apart() -> None:
    shifts = [
        Shift(-7 * HOUR_NS, HOUR_NS // 2, "night", "2026-11-22"),
        Shift(HOUR_NS // 2, 8 * HOUR_NS, "early", "2026-11-23"),
    ]
    products = [Span(0, 45 * MINUTE, "a"), Span(45 * MINUTE, HOUR_NS, "b")]
    hour = Told(minutes((60, RUNNING)), [], [counted(30, 1, product="a")], products, shifts, has_calendar=True)
    found = {share: figures.running_ms for share, figures in hour_of(0, HOUR_NS, hour, {}).figures.items()}
    assert found == {
        Share("night", "2026-11-22", "a"): 1_800_000,
        Share("early", "2026-11-23", "a"): 900_000,
        Share("early", "2026-11-23", "b"): 900_000,
    }


def test_losses_are_put_in_order_and_their_shares_add_up() -> None:
    found = pareto([("a", StopKind.UNPLANNED, 10, 1), ("b", StopKind.IDLE, 70, 2), ("", StopKind.MICRO, 20, 9)])
    assert [one.reason for one in found] == ["b", "", "a"]
    assert [round(one.cumulative, 6) for one in found] == [0.7, 0.9, 1.0]
    assert pareto([("a", StopKind.MICRO, 0, 1)])[0].share == 0.0


def test_cycle_times_are_of_times_without_a_break() -> None:
    hour = told(minutes((30, RUNNING), (1, STOPPED), (29, RUNNING)), counts=[counted(10, 10), counted(31, 9, length=2)])
    assert hour_of(0, HOUR_NS, hour, {}).cycles == {(Share("", "", "pump-a"), cycle_class(Decimal(6))): Decimal(10)}


@given(st.decimals(min_value=Decimal("0.002"), max_value=Decimal(100_000), allow_nan=False))
def test_a_cycle_time_is_in_its_class(cycle_s: Decimal) -> None:
    number = cycle_class(cycle_s)
    assert class_begin_s(number) <= float(cycle_s) * 1.000001
    assert float(cycle_s) < class_begin_s(number + 1) * 1.000001


@st.composite
def hours(draw: st.DrawFn) -> Told:
    """Anything that lines may tell of two hours, on whole seconds."""
    second = HOUR_NS // 3600
    states: list[Span] = []
    begin = draw(st.integers(0, 1800))
    while begin < 7200 and len(states) < 12:
        end = begin + draw(st.integers(1, 3000))
        states.append(Span(begin * second, end * second, draw(st.sampled_from(list(LineState)))))
        begin = end
    stops: list[Stop] = []
    for state in states:
        if state.what not in (RUNNING, OFFLINE) and draw(st.booleans()):
            kind = draw(st.sampled_from(list(StopKind)))
            stops.append(Stop(state.begin_ns, state.end_ns, draw(st.sampled_from(["", "jam"])), kind))
    shifts = [Shift(600 * second, 5000 * second, "early", "2026-11-23", ((1000 * second, 1500 * second),))]
    counts = [
        counted(
            draw(st.integers(1, 120)), draw(st.integers(-3, 50)), draw(st.integers(0, 9)), draw(st.sampled_from("ab"))
        )
        for _ in range(draw(st.integers(0, 8)))
    ]
    has_calendar = draw(st.booleans())
    return Told(states, stops, counts, [], shifts if has_calendar else [], has_calendar=has_calendar)


@given(hours())
def test_each_moment_is_counted_once_and_each_piece_is_in_one_hour(whole: Told) -> None:
    total = Figures()
    for number in (0, 1):
        hour = hour_of(number * HOUR_NS, (number + 1) * HOUR_NS, whole, {"a": Decimal(6)})
        for figures in hour.figures.values():
            lost = figures.stopped_ms + figures.changeover_ms + figures.idle_ms
            assert figures.planned_ms == figures.running_ms + lost
            assert 0 <= figures.unplanned_run_ms <= figures.running_ms
            total.add(figures)
        taken = sum(loss.ms for (_, _, kind), loss in hour.losses.items() if kind is not StopKind.MICRO)
        assert taken == sum(one.planned_ms - one.running_ms for one in hour.figures.values())
    assert total.planned_ms + total.unknown_ms <= 7_200_000
    assert total.good == sum((count.good for count in whole.counts), Decimal(0))
    assert total.reject == sum((count.reject for count in whole.counts), Decimal(0))


@given(hours(), st.integers(1, 3599))
def test_an_hour_in_two_parts_is_the_hour(whole: Told, cut_s: int) -> None:
    cut = cut_s * (HOUR_NS // 3600)
    parts, together = Figures(), Figures()
    for begin, end in ((0, cut), (cut, HOUR_NS)):
        for figures in hour_of(begin, end, whole, {"a": Decimal(6)}).figures.values():
            parts.add(figures)
    for figures in hour_of(0, HOUR_NS, whole, {"a": Decimal(6)}).figures.values():
        together.add(figures)
    assert parts == together


@pytest.mark.parametrize("figures", [Figures(planned_ms=10, running_ms=5, good=Decimal(-1))])
def test_counts_that_were_taken_back_make_no_ratio_that_means_nothing(figures: Figures) -> None:
    assert ratios(figures).quality is None
