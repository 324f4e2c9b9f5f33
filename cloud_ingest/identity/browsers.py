"""What our pages keep in a browser, and how a form that comes back is known to be one of ours."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from fastapi import Request, Response
from starlette.datastructures import FormData

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.identity.known_browsers import KEPT_S
from cloud_ingest.identity.logins import Asker, LoggedIn
from cloud_ingest.identity.server import AuthorizationServer

FIELDS_MAX: Final = 30
FIELD_CHARS_MAX: Final = 4000
_FORM_CHARS: Final = range(20, 100)


class FieldsInvalid(ValueError):
    """A form or query that cannot be understood, in a sentence."""


def single(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Fields by name. One that comes twice is refused (RFC 6749, section 3.1)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise FieldsInvalid(f"{name[:50]!r} comes twice")
        if len(value) > FIELD_CHARS_MAX:
            raise FieldsInvalid(f"{name[:50]!r} is too long")
        if "\x00" in value:
            raise FieldsInvalid(f"{name[:50]!r} has a character that no text has")
        found[name] = value
    return found


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form. Raises ``FieldsInvalid``."""
    form: FormData = await request.form(max_files=0, max_fields=FIELDS_MAX)
    pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    await form.close()
    return single(pairs)


def asker(request: Request) -> Asker:
    """From where the request comes."""
    address = "" if request.client is None else request.client.host
    return Asker(address, request.headers.get("user-agent", ""))


class Browser:
    """Cookies of a server: ``__Host-`` binds them to it alone, where it has TLS (RFC 6265bis, section 4.1.3)."""

    def __init__(self, server: AuthorizationServer) -> None:
        self._server = server
        prefix = "__Host-" if server.has_tls else ""
        self._session, self._form = f"{prefix}lineside_session", f"{prefix}lineside_form"
        self._known = f"{prefix}lineside_known"

    async def who(self, request: Request) -> LoggedIn | None:
        """Who is logged in there."""
        return await self._server.logins.session_of(request.cookies.get(self._session, ""))

    def form_token(self, request: Request) -> str:
        """What forms of this browser carry; ``keep`` puts it there."""
        known = request.cookies.get(self._form, "")
        return known if len(known) in _FORM_CHARS and known.isascii() else secrets.token_urlsafe(32)

    def keep(self, response: Response, form: str) -> None:
        """Leave the form token there."""
        self._set(response, self._form, form, None)

    def known(self, request: Request) -> str:
        """The marks of logins that have succeeded there (``known_browsers``)."""
        return request.cookies.get(self._known, "")

    def log_in(self, request: Request, response: Response, secret: str, login: str) -> None:
        """Leave the session there, and that ``login`` is known there from now on."""
        self._set(response, self._session, secret, self._server.session_s)
        self.know(request, response, login)

    def know(self, request: Request, response: Response, login: str) -> None:
        """Leave there that ``login`` is known from now on: who guesses elsewhere does not lock them out."""
        self._set(response, self._known, self._server.known.with_login(self.known(request), login), KEPT_S)

    def log_out(self, response: Response) -> None:
        """Take both away."""
        for name in (self._session, self._form):
            response.delete_cookie(name, path="/", secure=self._server.has_tls, httponly=True, samesite="lax")

    def check(self, request: Request, form: Mapping[str, str]) -> None:
        """Raises ``RequestRefused`` unless the form is one of ours that this browser was shown (no CSRF)."""
        shown, known = form.get("form", ""), request.cookies.get(self._form, "")
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site")
        is_ours = origin in (None, self._server.origin) and site in (None, "same-origin", "none")
        if not is_ours or len(known) not in _FORM_CHARS or not hmac.compare_digest(shown.encode(), known.encode()):
            why = "this form is not one that was shown to this browser, or is too old: go back, and load it again"
            raise RequestRefused(Why.FORBIDDEN, "foreign_form", why)

    def _set(self, response: Response, name: str, value: str, age_s: int | None) -> None:
        response.set_cookie(
            name, value, max_age=age_s, path="/", secure=self._server.has_tls, httponly=True, samesite="lax"
        )
