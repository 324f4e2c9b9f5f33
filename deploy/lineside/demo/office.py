"""How the demo asks the API as its planner and its engineer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Final

import httpx

from connectors.model.errors import LinesideError
from lineside.demo.factory import Who

ANSWER_S_MAX: Final = 10.0
SAYS_NOTHING_MS: Final = 4000


class NotAnswered(LinesideError):
    """The API cannot answer now: the caller asks again, with the same key."""


class Refused(LinesideError):
    """The API does not do it; the text says why, ``code`` is for programs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Office:
    """One thread's way to the API, with a token for each of the two."""

    def __init__(self, api_url: str, tokens: Mapping[Who, str]) -> None:
        self._tokens = tokens
        self._http = httpx.Client(base_url=f"{api_url}/api/v1", timeout=ANSWER_S_MAX, trust_env=False)

    def __enter__(self) -> Office:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(
        self, who: Who, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = "",
        if_match: str = "",
    ) -> Any:  # fmt: skip
        """The answer as JSON. Raises ``NotAnswered`` and ``Refused``."""
        headers = {"Authorization": f"Bearer {self._tokens[who]}"}
        headers |= {"Idempotency-Key": key} if key else {}
        headers |= {"If-Match": if_match} if if_match else {}
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
            found = answer.json() if answer.content else None
        except (httpx.HTTPError, json.JSONDecodeError) as exc:
            raise NotAnswered(f"the API does not answer {method} {path}: {exc!r}") from exc
        if answer.is_success:
            return found
        said = found if isinstance(found, dict) else {}
        if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise NotAnswered(f"{method} {path}: {said.get('detail') or answer.status_code}")
        raise Refused(str(said.get("code", "")), f"{method} {path}: {said.get('detail') or found}")

    def available(self, item: str) -> Decimal:
        """How much of an item can be promised. Raises ``NotAnswered`` and ``Refused``."""
        return Decimal(self.ask("planner", "GET", f"/stock/{item}")["available"])

    def on_hand(self, item: str) -> Decimal:
        """How much of an item there is. Raises ``NotAnswered`` and ``Refused``."""
        return Decimal(self.ask("planner", "GET", f"/stock/{item}")["on_hand"])

    def effectiveness(self, site: str) -> dict[tuple[str, str], str]:
        """OEE and what it is made of, by line and product, in a few words; without those of which it is not known yet.

        Nothing is told of the first ``SAYS_NOTHING_MS`` of running: a piece that was begun before is counted whole.
        Raises ``NotAnswered`` and ``Refused``.
        """
        groups = self.ask("planner", "GET", f"/analytics/oee?site={site}&by=line&by=product")["groups"]
        return {(one["line"], one["product"]): _oee_text(one) for one in groups
                if one["oee"] and one["running_ms"] >= SAYS_NOTHING_MS}  # fmt: skip


def _oee_text(group: Mapping[str, Any]) -> str:
    known = [name for name in ("availability", "performance", "quality") if group[name] is not None]
    parts = ", ".join(f"{name} {group[name]:.0%}" for name in known)
    return f"OEE of the {group['line']} with {group['product']} is {group['oee']:.0%} ({parts})"
