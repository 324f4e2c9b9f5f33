"""One vendor's API in JSON over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import httpx

from connectors.ports.vendors import CALL_S_MAX, AccessRefused, CallRefused, CallUncertain, VendorUnavailable

ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
REASON_CHARS_MAX: Final = 500
_RETRY_AFTER_S_MAX: Final = 3600
_NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class NotFound(CallRefused):
    """The vendor has no such thing."""


class AlreadyThere(CallRefused):
    """The vendor has such a thing already."""


class VendorHttp:
    """``vendor`` is its name in sentences; ``headers`` go with every request (the key, say)."""

    def __init__(self, vendor: str, url: str, headers: Mapping[str, str]) -> None:
        self._vendor = vendor
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=dict(headers),
            timeout=httpx.Timeout(CALL_S_MAX, connect=10.0),
            follow_redirects=False,
            trust_env=False,
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        parses: bool = True,
    ) -> Any:
        """What the vendor answers, numbers with a fraction as ``Decimal``; ``None`` when it is empty or not ``parses``.

        Raises what ``ports.vendors`` has, ``NotFound`` and ``AlreadyThere`` among it.
        """
        content = None if body is None else json.dumps(body, default=_plain).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            request = self._client.build_request(method, path, content=content, params=params, headers=headers)
            answer = await self._client.send(request, stream=True)
            try:
                text = await _bounded(answer)
            finally:
                await answer.aclose()
        except _NOTHING_SENT as exc:
            raise VendorUnavailable(f"{self._vendor} cannot be reached: {str(exc) or type(exc).__name__}") from exc
        except httpx.HTTPError as exc:
            raise CallUncertain(f"{self._vendor} has not answered: {str(exc) or type(exc).__name__}") from exc
        if answer.is_success:
            return _parsed(self._vendor, text) if parses else None
        raise self._refusal(answer, text)

    async def close(self) -> None:
        """Let connections go."""
        await self._client.aclose()

    def _refusal(self, answer: httpx.Response, text: bytes) -> Exception:
        reason, code = _said(text)
        why = f"{self._vendor} says {answer.status_code}: {reason or answer.reason_phrase}"
        match answer.status_code:
            case 401 | 403:
                return AccessRefused(why)
            case 404:
                return NotFound(why, code)
            case 409:
                return AlreadyThere(why, code)
            case 429:
                return VendorUnavailable(why, _retry_after_s(answer))
            case status if status == httpx.codes.REQUEST_TIMEOUT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
                return CallUncertain(why)
            case _:
                return CallRefused(why, code)


async def _bounded(answer: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise CallUncertain(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def _parsed(vendor: str, text: bytes) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError as exc:
        raise CallUncertain(f"{vendor} has answered with something that is no JSON") from exc


def _said(text: bytes) -> tuple[str, str]:
    """The sentence and the code of an error, where vendors usually have them."""
    try:
        document = json.loads(text)
    except ValueError:
        return text[:REASON_CHARS_MAX].decode(errors="replace"), ""
    if not isinstance(document, dict):
        return "", ""
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    reason = first.get("message") or document.get("message") or document.get("detail") or ""
    code = first.get("error_code") or document.get("category") or ""
    return str(reason)[:REASON_CHARS_MAX], str(code)[:100]


def _retry_after_s(answer: httpx.Response) -> float | None:
    """RFC 9110, section 10.2.3; dates are not read."""
    text = answer.headers.get("retry-after", "")
    return float(min(int(text), _RETRY_AFTER_S_MAX)) if text.isdecimal() and len(text) < 10 else None


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)  # JSON has one kind of numbers, and vendors read them so
    raise TypeError(f"{type(value).__name__} is no JSON")
