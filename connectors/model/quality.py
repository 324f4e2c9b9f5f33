"""Quality of a sample: the upper 16 bits of an OPC UA status code (severity and sub-code).

The two highest bits are the severity (OPC UA Part 4, 7.39): 00 good, 01 uncertain, 10 and 11 bad. A driver
that speaks no OPC UA picks the code whose meaning fits best, so that one word serves every protocol.
"""

from __future__ import annotations

from typing import Final

from connectors.model.status_names import STATUS_NAMES

GOOD: Final = 0x0000
UNCERTAIN: Final = 0x4000
UNCERTAIN_LAST_USABLE_VALUE: Final = 0x4090
BAD: Final = 0x8000
BAD_COMMUNICATION_ERROR: Final = 0x8005
BAD_DECODING_ERROR: Final = 0x8007
BAD_TIMEOUT: Final = 0x800A
BAD_NO_COMMUNICATION: Final = 0x8031
BAD_WAITING_FOR_INITIAL_DATA: Final = 0x8032
BAD_NODE_ID_UNKNOWN: Final = 0x8034
BAD_INDEX_RANGE_NO_DATA: Final = 0x8037
BAD_OUT_OF_RANGE: Final = 0x803C
BAD_NOT_SUPPORTED: Final = 0x803D
BAD_TYPE_MISMATCH: Final = 0x8074
BAD_CONFIGURATION_ERROR: Final = 0x8089
BAD_NOT_CONNECTED: Final = 0x808A
BAD_DEVICE_FAILURE: Final = 0x808B
BAD_SENSOR_FAILURE: Final = 0x808C


def is_good(quality: int) -> bool:
    """Whether the severity bits say good."""
    return quality >> 14 == 0


def is_bad(quality: int) -> bool:
    """Whether the severity bits say bad."""
    return quality >> 15 == 1


def name_of(quality: int) -> str:
    """The name an engineer knows: ``Good``, ``BadTimeout``; of a code without a name its severity and the code."""
    known = STATUS_NAMES.get(quality)
    if known is not None:
        return known
    severity = "Bad" if is_bad(quality) else "Uncertain" if quality >> 14 == 1 else "Good"
    return f"{severity} ({code_of(quality)})"


def code_of(quality: int) -> str:
    """The status code in the hexadecimal spelling of manuals: ``0x800A0000``."""
    return f"0x{quality:04X}0000"
