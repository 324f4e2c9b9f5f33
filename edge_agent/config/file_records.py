"""What the agent remembers of device files that came as versions: which is in use, which were, which is on trial."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

KEPT_MAX: Final = 10
"""So many earlier contents of a file are kept; of more, the oldest goes."""
FILES_MAX: Final = 200

Ending = Literal["", "kept", "rolling_back", "rolled_back", "untouched", "overtaken"]
"""How a trial has ended: not yet; it is in use; the file before is being put back; it is back; the file was never
replaced; or somebody else has changed the file meanwhile, which then stays as it is."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Content(_Record):
    """A content that a file had: ``version`` is 0 for one that was no version of the cloud's; ``sha256`` names it."""

    version: int
    sha256: str
    since_ms: int


class Failure(_Record):
    """The newest version of a file that could not be used, and why."""

    version: int
    message: str
    time_ms: int


class FileRecord(_Record):
    """A file: the content that came last and holds (``None``: none did yet), and those before it, newest first."""

    current: Content | None = None
    before: Annotated[tuple[Content, ...], Field(max_length=KEPT_MAX)] = ()
    failure: Failure | None = None


class Trial(_Record):
    """A version that is being tried, or was tried last.

    ``before`` is the SHA-256 of the file before, empty when there was none. ``starts`` counts the starts of the agent
    with it: a second one means that the first has not ended as it should. ``read`` are the devices that were read
    before, and have to be read again within ``health_s``.
    """

    command: str
    name: str
    version: int
    sha256: str
    before: str
    health_s: int
    begun_ms: int
    read: tuple[str, ...] = ()
    starts: int = 0
    ending: Ending = ""
    reason: str = ""


class Records(_Record):
    """All of it; ``trial`` stays until the next one begins, so that whoever asks again is told the same."""

    files: dict[str, FileRecord] = {}
    trial: Trial | None = None

    def of(self, name: str) -> FileRecord:
        """What is remembered of a file."""
        return self.files.get(name, FileRecord())

    @property
    def running(self) -> Trial | None:
        """The trial that has not ended."""
        return self.trial if self.trial is not None and self.trial.ending in ("", "rolling_back") else None

    def used(self, name: str, content: Content, before: Content | None) -> Records:
        """With ``content`` as what holds, and ``before`` as the newest of those before it."""
        known = self.of(name)
        earlier: dict[str, Content] = {}
        for one in (before, known.current, *known.before):
            if one is not None and one.sha256 != content.sha256:
                earlier.setdefault(one.sha256, one)
        record = FileRecord(current=content, before=tuple(earlier.values())[:KEPT_MAX], failure=None)
        return self.model_copy(update={"files": {**self.files, name: record}})

    def earlier(self, name: str, now: str, wanted: str = "") -> Content | None:
        """The newest content of a file that is not the one with the SHA-256 ``now``; or the ``wanted`` one."""
        record = self.of(name)
        held = [one for one in (record.current, *record.before) if one is not None]
        if wanted:
            return next((one for one in held if one.sha256.startswith(wanted)), None)
        return next((one for one in held if one.sha256 != now), None)

    def failed(self, name: str, failure: Failure) -> Records:
        """With ``failure`` as the newest one of the file."""
        record = self.of(name).model_copy(update={"failure": failure})
        return self.model_copy(update={"files": {**self.files, name: record}})

    def contents(self) -> set[str]:
        """The contents that have to be kept."""
        found = {one.sha256 for record in self.files.values() for one in (*record.before, record.current) if one}
        if self.trial is not None:
            found |= {self.trial.sha256, self.trial.before}
        return found - {""}


def printable(text: str) -> str:
    """``text`` with what is no Unicode, as in the name of a file that is no UTF-8, as its numbers."""
    return text.encode("utf-8", "backslashreplace").decode()
