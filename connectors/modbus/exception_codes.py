"""Exception replies of a unit: what they mean for samples and writes, and what to tell the engineer.

Modbus Application Protocol 1.1b3, section 7, and for code 7 the Modbus Protocol Reference Guide (rev. J).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connectors.model.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
)


@dataclass(frozen=True, slots=True)
class ExceptionCode:
    """What one exception code means: the quality of the samples, its name, and what to look at.

    ``advice`` is about reads, ``write_advice`` about writes, where that is something else.
    """

    quality: int
    name: str
    advice: str
    write_advice: str = ""


ILLEGAL_FUNCTION: Final = 1
ILLEGAL_DATA_ADDRESS: Final = 2
ILLEGAL_DATA_VALUE: Final = 3
DEVICE_FAILURE: Final = 4
ACKNOWLEDGE: Final = 5
GATEWAY_PATH_UNAVAILABLE: Final = 10
GATEWAY_TARGET_SILENT: Final = 11
REFUSALS: Final = frozenset({ILLEGAL_FUNCTION, ILLEGAL_DATA_ADDRESS, ILLEGAL_DATA_VALUE})
"""The unit will not answer this request until it or the configuration changes; every other code may pass."""
UNIT_ABSENT: Final = frozenset({GATEWAY_PATH_UNAVAILABLE, GATEWAY_TARGET_SILENT})
"""Another one answers for the unit, which itself has said nothing."""
UNDECIDED: Final = frozenset({DEVICE_FAILURE, ACKNOWLEDGE, GATEWAY_TARGET_SILENT})
"""Answers to a write that leave open whether it was done, or will be: the unit failed while it was at it; it has begun;
the gateway has sent it on and heard nothing."""

_KNOWN: Final = {
    ILLEGAL_FUNCTION: ExceptionCode(
        BAD_NOT_SUPPORTED,
        "illegal function",
        "the unit cannot read this kind of register; look in its manual for the table that it keeps the value in, and "
        "check unit_id",
        "the unit writes nothing by this function; look in its manual for what can be written, and check unit_id",
    ),
    ILLEGAL_DATA_ADDRESS: ExceptionCode(
        BAD_NODE_ID_UNKNOWN,
        "illegal data address",
        "check the table (holding or input, coil or discrete) and the address, which counts from 0: a manual that "
        "counts from 1, or from 40001, names the next number; and check unit_id",
        "check the address, which counts from 0, and in the manual of the unit whether it can be written",
    ),
    ILLEGAL_DATA_VALUE: ExceptionCode(
        BAD_OUT_OF_RANGE,
        "illegal data value",
        "the unit does not give this many registers from this address; check the address and the data type",
        "the unit does not take this value; check its limits in the manual, and the data type",
    ),
    DEVICE_FAILURE: ExceptionCode(
        BAD_DEVICE_FAILURE,
        "server device failure",
        "the unit itself reports a fault",
        "the unit failed while it did this; read the value back",
    ),
    ACKNOWLEDGE: ExceptionCode(
        BAD_NO_COMMUNICATION,
        "acknowledge",
        "the unit is busy with a long task",
        "the unit has taken it and is still at it; read the value back",
    ),
    6: ExceptionCode(
        BAD_NO_COMMUNICATION,
        "server device busy",
        "the unit is busy; a longer poll interval may help",
        "the unit is busy and has not taken it",
    ),
    7: ExceptionCode(BAD_DEVICE_FAILURE, "negative acknowledge", "the unit cannot do this in its present state"),
    8: ExceptionCode(BAD_DEVICE_FAILURE, "memory parity error", "the unit found its own memory damaged"),
    GATEWAY_PATH_UNAVAILABLE: ExceptionCode(
        BAD_NOT_CONNECTED,
        "gateway path unavailable",
        "check unit_id, and the routing of the gateway",
    ),
    GATEWAY_TARGET_SILENT: ExceptionCode(
        BAD_COMMUNICATION_ERROR,
        "gateway target device failed to respond",
        "check unit_id, and the power and the bus cable of the unit",
        "the gateway has passed it on and heard nothing of the unit; check its power and bus cable, and read the value "
        "back",
    ),
}


def meaning_of(code: int) -> ExceptionCode:
    """What ``code`` means; a code that no specification names is a device failure."""
    known = _KNOWN.get(code)
    if known is not None:
        return known
    return ExceptionCode(BAD_DEVICE_FAILURE, "unknown exception", "look the code up in the manual of the unit")


def refusal_sentence(place: str, function: int, code: int, unit_id: int) -> str:
    """Why the values at ``place`` cannot be read, for the operator."""
    meaning = meaning_of(code)
    reply = f"function {function}, exception {code}, {meaning.name}"
    return f"{place}: unit {unit_id} refuses to read it ({reply}): {meaning.advice}"


def write_sentence(place: str, function: int, code: int, unit_id: int) -> str:
    """What a unit has answered to a write of ``place`` with an exception, for the operator."""
    meaning = meaning_of(code)
    reply = f"function {function}, exception {code}, {meaning.name}"
    verdict = "does not say that it has written it" if code in UNDECIDED else "refuses to write it"
    return f"{place}: unit {unit_id} {verdict} ({reply}): {meaning.write_advice or meaning.advice}"


def absence_sentence(place: str, unit_id: int, code: int) -> str:
    """Why nothing can be read of a unit for which a gateway at ``place`` answers, for the operator."""
    meaning = meaning_of(code)
    return f"{place} answers that unit {unit_id} cannot be reached (exception {code}, {meaning.name}): {meaning.advice}"
