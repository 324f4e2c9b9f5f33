"""The checks before a command is done, each with its own code, in the order of ``Refusal``; without I/O.

What is known now goes in, the first refusal comes out. Whether the values of conditions are known is asked for by
``conditions_needed`` first, so that whoever reads them from the devices knows which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.commands.envelope import Action, AgentAction, DeviceAction, Envelope, WriteTag
from connectors.commands.expression import (
    Expression,
    ExpressionFailed,
    ExpressionInvalid,
    TagPlace,
    parse_expression,
)
from connectors.commands.refusals import Refusal
from connectors.model.datatypes import DataType
from connectors.model.quality import is_good, name_of
from connectors.ports.command_settings import ARGUMENT_SIGN
from connectors.ports.device import Reading, Value
from edge_agent.commands.cloud_time import CloudNow
from edge_agent.commands.journal_rows import AGENT_LINE, Lock, Source
from edge_agent.commands.targets import Refused, Targets

PRECONDITION_AGE_S: Final = 10.0

COMMISSIONING: Final = (
    "the line is being commissioned; when it is handed over, write 'agent: {commissioning: false}' and reload"
)


@dataclass(frozen=True, slots=True)
class Authority:
    """What is known of this agent and its journal when a command comes.

    ``number``: the newest in the journal; ``is_anew``: another journal was here before.
    """

    agent: str
    journal: str
    number: int
    is_anew: bool = False


@dataclass(frozen=True, slots=True)
class Armed:
    """A command of stage ``arm`` that has passed: what it was for, and how long ago."""

    action: Action
    age_s: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a command has its turn.

    ``datatypes`` are those of the tags of its device, as far as they are known; ``since_write_s``: since the target was
    last written, if ever.
    """

    cloud_now: CloudNow | None = None
    remote_commands: bool = True
    commissioning: bool = False
    locks: Mapping[str, Lock] = field(default_factory=dict)
    datatypes: Mapping[str, DataType] = field(default_factory=dict)
    since_write_s: float | None = None
    approvers: tuple[str, ...] = ()
    armed: Armed | None = None


def refuse_stranger(envelope: Envelope, known: Authority) -> Refused | None:
    """Whether a command with the right signature is for this agent."""
    if envelope.agent != known.agent:
        return Refused(Refusal.WRONG_AGENT, f"it is for {envelope.agent}, and this is {known.agent}")
    return None


def refuse_time(envelope: Envelope, now: CloudNow | None) -> Refused | None:
    """Whether the time of a command is known not to be up; by the cloud's time, and on the safe side."""
    if now is None:
        return Refused(Refusal.CLOCK_UNKNOWN, "the cloud has not told its time since the agent started")
    if not now.is_known:
        said = f"it is known to {now.uncertainty_ms / 1000:.1f} s only"
        return Refused(Refusal.CLOCK_UNKNOWN, said)
    if now.latest_ms >= envelope.expires_ms:
        late_s = (now.time_ms - envelope.expires_ms) / 1000
        return Refused(Refusal.EXPIRED, f"its time was up {max(0.0, late_s):.1f} s ago")
    return None


def refuse_journal(envelope: Envelope, known: Authority) -> Refused | None:
    """Whether the cloud knows the journal as it is: otherwise the disk was restored, and old commands look new."""
    if not envelope.journal and known.is_anew:
        return Refused(Refusal.JOURNAL_MISMATCH, "it names no journal, and the first one of this agent is lost")
    if envelope.journal and envelope.journal != known.journal:
        said = f"the cloud knows the journal {envelope.journal}, and this is {known.journal}"
        return Refused(Refusal.JOURNAL_MISMATCH, said)
    if envelope.number > known.number:
        said = f"the cloud knows command {envelope.number} of this journal, which has {known.number} only"
        return Refused(Refusal.JOURNAL_MISMATCH, said)
    return None


def refuse(envelope: Envelope, source: Source, now: Situation, targets: Targets) -> Refused | None:
    """Every check but those of conditions, when the command has its turn."""
    if (refused := refuse_now(envelope, source, now)) is not None:
        return refused
    action = envelope.action
    if isinstance(action, AgentAction):  # nothing is written to a device: what it needs, it looks for itself
        return _refuse_order(envelope, now, targets)
    return targets.problem(action) or _refuse_values(action, now, targets) or _refuse_order(envelope, now, targets)


def refuse_now(envelope: Envelope, source: Source, now: Situation, *, has_begun: bool = False) -> Refused | None:
    """What may change until the very moment of a write: the time that is left, the switches, and the locks.

    A sequence that has begun in time may end later, but not against a lock. Commissioning keeps devices from being
    written, not the agent from being set up: what is for the agent itself is done, unless the agent is locked.
    """
    if source == "cloud" and not has_begun and (late := refuse_time(envelope, now.cloud_now)) is not None:
        return late
    if source != "local" and not now.remote_commands:
        return Refused(Refusal.REMOTE_OFF, "agent.remote_commands is false")
    if now.commissioning and not isinstance(envelope.action, AgentAction):
        return Refused(Refusal.COMMISSIONING, COMMISSIONING)
    for line in (envelope.action.device, AGENT_LINE):
        if (lock := now.locks.get(line)) is not None:
            return Refused(Refusal.LOCKED, f"{lock.actor} has locked {line}: {lock.reason}")
    return None


def _refuse_values(action: DeviceAction, now: Situation, targets: Targets) -> Refused | None:
    if isinstance(action, WriteTag):
        return targets.value_problem(action.device, action.tag, action.value, now.datatypes.get(action.tag))
    if (problem := targets.arguments_problem(action.device, action.command, action.arguments)) is not None:
        return problem
    command = targets.devices[action.device].commands[action.command]
    for step in (*command.steps, *command.otherwise):  # all of them, before anything is written
        if step.write is not None:
            value, datatype = with_arguments(step.value, action.arguments), now.datatypes.get(step.write)
            if (problem := targets.value_problem(action.device, step.write, value, datatype)) is not None:
                return problem
    return None


def _refuse_order(envelope: Envelope, now: Situation, targets: Targets) -> Refused | None:
    """Rate, approval and arming."""
    wanted = targets.conditions(envelope.action)
    if now.since_write_s is not None and now.since_write_s < wanted.interval_s:
        said = f"it was written {now.since_write_s:.1f} s ago, and may be every {wanted.interval_s:g} s"
        return Refused(Refusal.TOO_OFTEN, said)
    others = [name for name in (*envelope.approvers, *now.approvers) if name != envelope.issuer]
    if wanted.approve and not others:
        return Refused(Refusal.NOT_APPROVED, f"{envelope.issuer} asks for it, and nobody else has agreed")
    if envelope.stage == "execute" and wanted.arm_s is not None:
        return _refuse_unarmed(envelope, now.armed, wanted.arm_s)
    return None


def _refuse_unarmed(envelope: Envelope, armed: Armed | None, arm_s: float) -> Refused | None:
    if envelope.armed is None:
        return Refused(Refusal.NOT_ARMED, "it does not name the command that has armed it")
    if armed is None:
        return Refused(Refusal.NOT_ARMED, f"{envelope.armed} has armed nothing, or was used already")
    if armed.action != envelope.action:
        return Refused(Refusal.NOT_ARMED, f"{envelope.armed} has armed something else")
    if armed.age_s > arm_s:
        return Refused(Refusal.NOT_ARMED, f"it was armed {armed.age_s:.1f} s ago, and may be within {arm_s:g} s")
    return None


def with_arguments(value: Value, arguments: Mapping[str, Value]) -> Value:
    """A value of the device file, with the argument that it may stand for."""
    if isinstance(value, str) and value.startswith(ARGUMENT_SIGN):
        return arguments.get(value[1:], value)
    return value


@dataclass(frozen=True, slots=True)
class Needed:
    """A condition, and how old the value of each of its tags may be."""

    code: Refusal
    expression: Expression
    age_s_max: float


def conditions_needed(envelope: Envelope, targets: Targets) -> list[Needed] | Refused:
    """The conditions that have to hold: the interlock, then the precondition; or why one cannot be read."""
    wanted = targets.conditions(envelope.action)
    found: list[Needed] = []
    for code, text, age_s in (
        (Refusal.INTERLOCKED, wanted.interlock, wanted.interlock_age_s),
        (Refusal.PRECONDITION, envelope.precondition, PRECONDITION_AGE_S),
    ):
        if not text:
            continue
        try:
            expression = parse_expression(text)
        except ExpressionInvalid as exc:
            return Refused(code, f"{text!r} is no condition: {exc}")
        for place in sorted(expression.tags):
            if targets.tag(place.device, place.tag) is None:
                return Refused(code, f"there is no tag {place}")
        found.append(Needed(code, expression, age_s))
    return found


def refuse_conditions(needed: list[Needed], values: Mapping[TagPlace, Reading | None]) -> Refused | None:
    """Whether every condition holds by these values; ``None`` stands for a tag that could not be read."""
    for each in needed:
        if (problem := condition_problem(each.expression, values)) is not None:
            return Refused(each.code, problem)
    return None


def condition_problem(expression: Expression, values: Mapping[TagPlace, Reading | None]) -> str | None:
    """Why a condition does not hold; ``None`` when it does. A value that is not good is as none."""
    known: dict[TagPlace, bool | int | float | str] = {}
    for place in sorted(expression.tags):
        reading = values.get(place)
        if reading is None or reading.value is None:
            return f"{expression.text!r} cannot be told: {place} is not known"
        if not is_good(reading.quality):
            return f"{expression.text!r} cannot be told: {place} has quality {name_of(reading.quality)}"
        known[place] = reading.value
    try:
        holds = expression.holds(known)
    except ExpressionFailed as exc:
        return f"{expression.text!r} has no answer: {exc}"
    said = ", ".join(f"{place} is {value!r}" for place, value in sorted(known.items()))
    return None if holds else f"{expression.text!r} does not hold: {said}"
