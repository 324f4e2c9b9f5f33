"""The keys of the cloud that the agent trusts: from their file, which enrolment writes, and as the cloud changes them.

The cloud may change them only in answer to a hello of this start, once, signed with a key that is trusted already and
stays so: what was recorded earlier, or is for another agent, changes nothing, and no key ends the trust in all of them.
A new key has to be signed itself with one that is trusted, which whoever makes it has in a file: so who can write the
cloud's database, and thereby has the cloud name other keys, brings none of his own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.commands.refusals import Refusal
from connectors.commands.reports import KeysAnswer, KeyVoucher, read_record
from connectors.model.errors import PayloadInvalid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from edge_agent.commands.journal import Journal
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.pinned_keys import KeysUnreadable, read_pinned_keys, write_pinned_keys
from edge_agent.observability.command_events import (
    JournalBlocked,
    KeysNotVouched,
    TrustedKeysChanged,
    TrustedKeysNotWritten,
    TrustedKeysRead,
    TrustedKeysUnreadable,
)

if TYPE_CHECKING:
    from connectors.commands.signing import TrustedKeys

QUESTIONS_MAX: Final = 16
FILE_ACTOR: Final = "the file of trusted keys"


class CloudKeys:
    """See the module. ``changed`` is called whenever other keys are trusted."""

    def __init__(
        self, path: Path, journal: JournalAccess, clock: Clock, agent: str, changed: Callable[[], None]
    ) -> None:
        self._path = path
        self._journal = journal
        self._clock = clock
        self._agent = agent
        self._changed = changed
        self._keys: TrustedKeys | None = None
        self._seen: Any = None
        self._not_written: tuple[str, ...] = ()
        self._not_vouched: tuple[str, ...] = ()
        self._asked: deque[str] = deque(maxlen=QUESTIONS_MAX)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys that are trusted."""
        return () if self._keys is None else self._keys.ids

    def trusted(self) -> TrustedKeys:
        """The keys."""
        if self._keys is None:
            from connectors.commands.signing import TrustedKeys  # some MB that an agent without keys can do without

            self._keys = TrustedKeys()
        return self._keys

    def asked(self, nonce: str) -> None:
        """A hello with ``nonce`` is said: the cloud may answer it with other keys, once."""
        self._asked.append(nonce)

    def look(self) -> bool:
        """Read the file, if it has changed since it was read; whether other keys are trusted now."""
        try:
            stat = self._path.stat()
            seen: Any = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        except OSError as exc:
            seen = type(exc).__name__
        if seen == self._seen:
            return False
        self._seen, before = seen, self.ids
        try:
            self._keys = None if seen == FileNotFoundError.__name__ else read_pinned_keys(self._path)
            emit(TrustedKeysRead(str(self._path), len(self.ids)))
            self._changed()
        except KeysUnreadable as exc:
            self._keys = None
            emit(TrustedKeysUnreadable(str(exc)))
        return self.ids != before

    async def look_and_note(self) -> None:
        """``look``, and what has changed stands in the audit log: somebody has written the file."""
        before = self.ids
        if not self.look():
            return
        details, now_ms = _difference(before, self.ids), self._clock.now_ns() // 1_000_000
        emit(TrustedKeysChanged(details["added"], details["removed"], FILE_ACTOR))
        try:
            await self._journal.call(
                lambda journal: journal.audit(
                    now_ms, FILE_ACTOR, "trusted keys changed", str(self._path)[:500], details
                )
            )
        except JournalUnavailable as exc:
            emit(JournalBlocked(str(exc)))

    async def told(self, sealed: str) -> None:
        """The cloud names the keys that hold: they are pinned, after the audit log has it.

        Raises ``SignatureRefused``, ``PayloadInvalid`` where it is not for this agent and this moment, and
        ``JournalUnavailable``; nothing has changed then.
        """
        from connectors.commands.signing import SignatureRefused, TrustedKeys, unverified

        answer = read_record(KeysAnswer, self.trusted().verify("lineside-keys", sealed))
        if answer.agent != self._agent or answer.nonce not in self._asked:
            raise PayloadInvalid("it answers no hello of this start, or one that was answered already")
        signed_by, _ = unverified(sealed)
        try:
            told = TrustedKeys(answer.keys)
        except ValueError as exc:
            raise PayloadInvalid(str(exc)) from exc
        if signed_by not in told:
            raise SignatureRefused(Refusal.BAD_SIGNATURE, f"the key {signed_by} would end the trust in itself")
        self._asked.remove(answer.nonce)
        keys = await self._believed(answer)
        told = TrustedKeys(keys)
        if told.ids == self.ids:
            return
        if not os.access(self._path.parent, os.W_OK):
            if self._not_written != told.ids:  # an engineer may want it so, and every hello is answered with them
                emit(TrustedKeysNotWritten(f"{self._path.parent} is not to be written by the agent's user"))
            self._not_written = told.ids
            return
        details = {**_difference(self.ids, told.ids), "signed_by": signed_by}
        now_ms = self._clock.now_ns() // 1_000_000

        def pin(journal: Journal) -> None:
            journal.audit(now_ms, "cloud", "trusted keys changed", str(self._path)[:500], details)
            write_pinned_keys(self._path, keys)

        try:
            await self._journal.call(pin)
        except OSError as exc:
            reason = f"{self._path}: {exc.strerror or exc}"
            emit(TrustedKeysNotWritten(reason))
            about = {"reason": reason[:500]}
            await self._journal.call(
                lambda journal: journal.audit(now_ms, "agent", "trusted keys not changed", str(self._path)[:500], about)
            )
            return
        self.look()
        emit(TrustedKeysChanged(details["added"], details["removed"], signed_by))

    async def _believed(self, answer: KeysAnswer) -> dict[str, dict[str, Any]]:
        """Those of the keys that are trusted already, or signed with one that is; others are told of, once."""
        found = {
            key_id: key
            for key_id, key in answer.keys.items()
            if key_id in self.trusted() or self._is_vouched(key_id, answer.vouched.get(key_id, ""))
        }
        others = tuple(sorted(answer.keys.keys() - found.keys()))
        if others and others != self._not_vouched:
            emit(KeysNotVouched(list(others)))
            now_ms, about = self._clock.now_ns() // 1_000_000, {"keys": list(others)}
            await self._journal.call(
                lambda journal: journal.audit(now_ms, "cloud", "keys not trusted", str(self._path)[:500], about)
            )
        self._not_vouched = others
        return found

    def _is_vouched(self, key_id: str, sealed: str) -> bool:
        from connectors.commands.signing import SignatureRefused

        try:
            return read_record(KeyVoucher, self.trusted().verify("lineside-key", sealed)).key_id == key_id
        except (SignatureRefused, PayloadInvalid):
            return False


def _difference(before: tuple[str, ...], now: tuple[str, ...]) -> dict[str, Any]:
    return {"added": sorted(set(now) - set(before)), "removed": sorted(set(before) - set(now))}
