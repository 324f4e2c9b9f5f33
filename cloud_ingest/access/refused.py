"""Why the cloud does not do what somebody asks of commands, keys or tokens."""

from __future__ import annotations

from enum import Enum

from connectors.model.errors import LinesideError


class Why(Enum):
    """What the asker does next; the number is HTTP's."""

    INVALID = 400
    """Ask for something else."""
    NO_TOKEN = 401
    """Show who you are."""
    FORBIDDEN = 403
    """Have somebody else do it."""
    UNKNOWN = 404
    """Name something that exists."""
    CONFLICT = 409
    """Look how it stands now."""
    CHANGED = 412
    """Look what has become of it, and decide anew (``etags``)."""
    TOO_LARGE = 413
    """Ask for less."""
    UNSEEN = 428
    """Look at it first (``etags``)."""
    TOO_MANY = 429
    """Ask again later."""
    NOT_SET_UP = 503
    """Have it set up first."""


class RequestRefused(LinesideError):
    """Nothing was done. ``code`` is for programs, and stays as it is; the text is a sentence.

    ``retry_after_s``: when it is worth to ask again, where that is known.
    """

    def __init__(self, why: Why, code: str, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.why = why
        self.code = code
        self.retry_after_s = retry_after_s
