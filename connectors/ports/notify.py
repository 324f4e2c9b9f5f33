"""The ports to people and to other people's systems: e-mail, chat, and webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

ATTACHMENTS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message. ``media_type`` is such as ``application/pdf``."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody is told. ``id`` stays when it is sent again: a mail has it as its Message-ID.

    ``sender_name`` is in whose name it is told, where that is not the channel's own. A chat shows neither that nor
    attachments, of which there are ``ATTACHMENTS_MAX`` at most; a channel refuses what is larger than it takes.
    """

    id: str
    subject: str
    text: str
    html: str
    recipients: Sequence[str] = ()
    attachments: Sequence[Attachment] = ()
    sender_name: str = ""


@dataclass(frozen=True, slots=True)
class NotTold:
    """One of several recipients whom a message did not go to. ``is_final``: trying again does not help."""

    recipient: str
    reason: str
    is_final: bool


class Channel(Protocol):
    """A way to people: a mail server, or a room of a chat.

    ``send`` raises ``VendorUnavailable`` (send it again later), ``CallUncertain`` (send it again: told twice is better
    than not told), ``CallRefused`` (this message never goes) and ``AccessRefused`` (a person mends the settings first).
    """

    async def send(self, message: Message) -> Sequence[NotTold]:
        """Tell it: the server has taken it when this returns, but for those whom it names; never for nobody."""
        ...

    async def close(self) -> None:
        """Let connections go. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Posted:
    """What the receiver of a webhook has answered. ``text`` is the beginning of its body, for whoever looks for why."""

    status: int
    text: str


class WebhookPoster(Protocol):
    """Posts to addresses that customers have given: it never reaches into our own network unless it was allowed to."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Post ``body``; redirects are answers like any other.

        Raises ``VendorUnavailable`` when there is no answer, and ``CallRefused`` when the address may not be asked.
        """
        ...

    async def check(self, url: str) -> None:
        """Raises ``CallRefused`` with a sentence when ``url`` may not be asked, as it is resolved now."""
        ...

    async def close(self) -> None:
        """Let connections go. Never raises."""
        ...
