"""Rooms of chats that take JSON by an incoming webhook: Slack, Mattermost, Microsoft Teams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, assert_never

from connectors.ports.notify import Message, NotTold
from connectors.vendor_http.client import VendorHttp

ChatFormat = Literal["slack", "mattermost", "teams"]


class ChatRoom:
    """``url`` is a secret: whoever knows it can write there."""

    def __init__(self, name: str, url: str, format: ChatFormat) -> None:  # noqa: A002  the settings' word
        self._http = VendorHttp(f"the chat {name!r}", "", {})
        self._url = url
        self._format = format

    async def send(self, message: Message) -> Sequence[NotTold]:
        """See ``Channel``."""
        await self._http.ask("POST", self._url, self._body(message), parses=False)
        return ()

    async def close(self) -> None:
        """See ``Channel``."""
        await self._http.close()

    def _body(self, message: Message) -> dict[str, Any]:
        match self._format:
            case "slack" | "mattermost":
                return {"text": f"*{_plain(message.subject)}*\n{_plain(message.text)}"}
            case "teams":  # an adaptive card, as workflows of Teams take it
                blocks = [
                    {"type": "TextBlock", "text": message.subject, "weight": "bolder", "wrap": True},
                    {"type": "TextBlock", "text": message.text.replace("\n", "\n\n"), "wrap": True},
                ]
                card = {"type": "AdaptiveCard", "version": "1.4", "body": blocks}
                attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
                return {"type": "message", "attachments": [attachment]}
            case _:
                assert_never(self._format)


def _plain(text: str) -> str:
    """Without what would call people or make links: docs.slack.dev, "Formatting message text"."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\u200b")
