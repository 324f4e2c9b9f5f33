"""What an engineer has written of a line, as the rules that its samples are read by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from cloud_ingest.lines.alarm_rules import AlarmRule
from cloud_ingest.lines.counter_rules import CounterRule
from cloud_ingest.lines.events import LineState
from cloud_ingest.lines.fold_rules import LineRule, Meaning, SignalKind, spelt
from cloud_ingest.lines.model import AlarmModel, CounterSignalModel, LineModel, MeaningModel, state_of
from cloud_ingest.lines.model_types import exact_number

UNMAPPED: Final = Meaning(LineState.STOPPED)
_TRUTH: Final = {"true": "1", "false": "0"}


def line_rule(model: LineModel, signals: Mapping[str, int]) -> LineRule:
    """The rule of a line; ``signals`` are the numbers of its signals by their names."""
    known = model.signals.all()
    state, speed, fault = model.signals.state, model.signals.speed, model.signals.fault
    return LineRule(
        kinds={signals[name]: SignalKind(name) for name in known},
        counters={
            signals[name]: _counter(signal) for name, signal in known.items() if isinstance(signal, CounterSignalModel)
        },
        meanings={} if state is None else {_key(text): _meaning(meant) for text, meant in state.map.items()},
        unmapped=UNMAPPED if state is None else _meaning(state.unmapped),
        stop_after_ns=_ns(model.stop_after_s),
        offline_after_ns=None if model.offline_after_s is None else _ns(model.offline_after_s),
        running_above=Decimal(0) if speed is None else speed.running_above,
        fault_reason=None if fault is None else fault.reason,
    )


def alarm_rule(model: AlarmModel) -> AlarmRule:
    """The condition of an alarm."""
    return AlarmRule(model.when, model.high, model.low, model.deadband, _ns(model.delay_s))


def counts_alike(one: LineModel, other: LineModel) -> bool:
    """Whether samples mean the same to both: else what was folded by the one is not folded again by the other."""
    names = ("signals", "stop_after_s", "offline_after_s")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _counter(model: CounterSignalModel) -> CounterRule:
    return CounterRule(model.modulus, model.rate_max, model.reset_to, model.scale)


def _meaning(model: MeaningModel) -> Meaning:
    return Meaning(state_of(model.state), model.reason)


def _key(text: str) -> str:
    """A key of a map of states, as values of the tag are spelt."""
    if text in _TRUTH:
        return _TRUTH[text]
    try:
        return spelt(exact_number(text))
    except ValueError:
        return text


def _ns(duration_s: float) -> int:
    return round(duration_s * 1_000_000_000)
