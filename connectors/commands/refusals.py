"""Why a command was not done: stable codes for programs, each with what it means and what to do for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Refusal(StrEnum):
    """A code that never changes its meaning; part of the API. In the order in which an agent checks."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    WRONG_AGENT = "wrong_agent"
    JOURNAL_MISMATCH = "journal_mismatch"
    PLAIN_DIFFERS = "plain_differs"
    PLAIN_NOT_ALLOWED = "plain_not_allowed"
    CLOCK_UNKNOWN = "clock_unknown"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    TOO_MANY = "too_many"
    JOURNAL_UNAVAILABLE = "journal_unavailable"
    REMOTE_OFF = "remote_off"
    COMMISSIONING = "commissioning"
    LOCKED = "locked"
    UNKNOWN_TARGET = "unknown_target"
    NOT_WRITABLE = "not_writable"
    WRONG_TYPE = "wrong_type"
    OUT_OF_LIMITS = "out_of_limits"
    TOO_OFTEN = "too_often"
    NOT_APPROVED = "not_approved"
    NOT_ARMED = "not_armed"
    INTERLOCKED = "interlocked"
    PRECONDITION = "precondition"
    DEVICE_UNAVAILABLE = "device_unavailable"
    BUSY = "busy"
    FILE_INVALID = "file_invalid"
    FILE_DIFFERS = "file_differs"
    FILE_TOO_WIDE = "file_too_wide"
    NO_RELEASES = "no_releases"


MEANING: Final = {
    Refusal.OVERSIZED: "The message is larger than a command may be.",
    Refusal.MALFORMED: "The message is not a command as this version of Lineside writes them.",
    Refusal.BAD_SIGNATURE: "The signature does not fit: somebody has changed the command, or made it up.",
    Refusal.UNKNOWN_KEY: "It is signed with a key that this agent does not trust. Enrol the agent anew if the keys of "
    "the cloud were replaced.",
    Refusal.WRONG_AGENT: "It is for another agent.",
    Refusal.PLAIN_DIFFERS: "The Sparkplug metric beside the envelope says something else than the envelope.",
    Refusal.PLAIN_NOT_ALLOWED: "A plain Sparkplug command without an envelope; the device file does not allow them "
    "(plain_commands: allow).",
    Refusal.CLOCK_UNKNOWN: "The agent does not know the cloud's time well enough to tell whether it has expired.",
    Refusal.EXPIRED: "Its time was up before it could be done.",
    Refusal.REPLAYED: "The agent has had a command of this id before, with another content.",
    Refusal.JOURNAL_MISMATCH: "The agent's journal is not the one that the cloud knows, as its disk was restored: "
    "nothing is done now, and nobody can say whether it was done before.",
    Refusal.TOO_MANY: "So many commands wait already that this one is not taken. Send it again later.",
    Refusal.JOURNAL_UNAVAILABLE: "The journal cannot be written (disk full, for example), so nothing is done.",
    Refusal.REMOTE_OFF: "Remote commands are switched off on this agent (agent.remote_commands).",
    Refusal.COMMISSIONING: "The agent is in commissioning, and writes nothing to any device.",
    Refusal.LOCKED: "An operator has locked the line.",
    Refusal.UNKNOWN_TARGET: "The agent has no such device, tag or named command.",
    Refusal.NOT_WRITABLE: "The device file does not make this tag writable.",
    Refusal.WRONG_TYPE: "The value does not fit the type of the tag.",
    Refusal.OUT_OF_LIMITS: "The value is outside of what the engineer allows for this tag.",
    Refusal.TOO_OFTEN: "The tag was written too recently for another command.",
    Refusal.NOT_APPROVED: "It needs the approval of a second person.",
    Refusal.NOT_ARMED: "It needs to be armed before, and not longer ago than the device file says.",
    Refusal.INTERLOCKED: "The interlock of the tag does not hold now, or one of its tags is not known well enough.",
    Refusal.PRECONDITION: "The precondition of the command does not hold, or one of its tags is not known well enough.",
    Refusal.DEVICE_UNAVAILABLE: "The device is not connected.",
    Refusal.BUSY: "Commands are being done that must not be cut off. Send it again later.",
    Refusal.FILE_INVALID: "The configuration would not be valid with this file.",
    Refusal.FILE_DIFFERS: "The file on the box is not the one that this version may replace: somebody has changed it.",
    Refusal.FILE_TOO_WIDE: "A file that comes from the cloud may not allow more than the one that it replaces.",
    Refusal.NO_RELEASES: "The box takes no releases: its file has no release keys, or the agent has no launcher.",
}
"""A sentence for each; a refusal brings its own details beside it."""
