"""The pages of a login: plain HTML without scripts and without anything of others, readable by a screen reader."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from html import escape
from typing import Final

from fastapi.responses import HTMLResponse

from cloud_ingest.identity.brands import Brand
from cloud_ingest.identity.rules import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN

_STYLE: Final = """
:root { color-scheme: light dark; --brand: BRAND; --on-brand: ONBRAND; --paper: #fff; --ink: #16181d; --edge: #6b7280;
  --bad: #b00020; --bad-paper: #fdecee; --ground: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --paper: #1c1f26; --ink: #f2f3f5; --edge: #9aa1ad; --bad: #ffb4ab;
  --bad-paper: #42191c; --ground: #101216; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: start center; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; padding: 8vh 1rem 2rem; }
main { width: 100%; max-width: 26rem; background: var(--paper); border-radius: .75rem; padding: 2rem;
  border-top: .375rem solid var(--brand); box-shadow: 0 1px 3px rgb(0 0 0 / .2); }
main.wide { max-width: 44rem; }
header { display: flex; align-items: center; gap: .75rem; margin-bottom: 1.25rem; font-weight: 600; }
header img { max-height: 2.5rem; max-width: 10rem; }
h1 { font-size: 1.375rem; margin: 0 0 1rem; } h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; }
label { display: block; font-weight: 600; margin: 1rem 0 .25rem; }
input { width: 100%; padding: .625rem .75rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--edge); border-radius: .375rem; }
button { margin-top: 1.5rem; padding: .625rem 1.25rem; font: inherit; font-weight: 600; border: 0; cursor: pointer;
  border-radius: .375rem; color: var(--on-brand); background: var(--brand); min-height: 2.75rem; }
form.full button { width: 100%; }
button.plain { margin: 0; color: inherit; background: transparent; border: 1px solid var(--edge); }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 3px solid #2563eb; outline-offset: 2px; }
.problem { color: var(--bad); background: var(--bad-paper); padding: .75rem; border-radius: .375rem; margin: 0 0 1rem;
  border-left: .25rem solid var(--bad); }
.hint { margin: .25rem 0 0; font-size: .875rem; } .row { display: flex; gap: 1rem; justify-content: space-between;
  align-items: center; padding: .5rem 0; border-bottom: 1px solid var(--edge); overflow-wrap: anywhere; }
"""


def page(
    title: str, body: str, brand: Brand, *, status: int = 200, form_targets: str = "", wide: bool = False
) -> HTMLResponse:
    """A page. ``form_targets``: origins that a form may lead to beside our own, as apps that people return to are."""
    nonce = secrets.token_urlsafe(16)
    style = _STYLE.replace("ONBRAND", brand.text_color).replace("BRAND", brand.shown_color)
    logo = f'<img src="/brand/{escape(brand.tenant)}/logo" alt="">' if brand.has_logo else ""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} – '
        f"{escape(brand.shown_title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'<style nonce="{nonce}">{style}</style></head><body><main{" class=wide" if wide else ""}>'
        f"<header>{logo}<span>{escape(brand.shown_title)}</span></header><h1>{escape(title)}</h1>{body}"
        "</main></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src 'self'; form-action 'self'{form_targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return HTMLResponse(html, status, headers)


def problem(text: str) -> str:
    """A sentence that says what is wrong, read out as soon as the page is there."""
    shown = text[:1].upper() + text[1:]
    return f'<p class="problem" role="alert">{escape(shown)}</p>' if text else ""


def notice(text: str) -> str:
    """A sentence that says what was done."""
    return f'<p role="status">{escape(text)}</p>' if text else ""


def login_form(form: str, return_to: str, login: str, said: str) -> str:
    """Where login and password are typed."""
    return (
        f'{problem(said)}<form class="full" method="post" action="/login">{_hidden("form", form)}'
        f"{_hidden('return', return_to)}"
        f'<label for="login">E-mail or login</label><input id="login" name="login" value="{escape(login)}" '
        f'autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="200"'
        f"{'' if login else ' autofocus'}>"
        '<label for="password">Password</label><input id="password" name="password" type="password" '
        f'autocomplete="current-password" required maxlength="{PASSWORD_CHARS_MAX}"{" autofocus" if login else ""}>'
        "<button>Log in</button></form>"
    )


def set_up_form(form: str, token: str, login: str, said: str) -> str:
    """Where a first password, or a new one, is set by a one-time link."""
    return (
        f"{problem(said)}<p>For <strong>{escape(login)}</strong>. The link holds once.</p>"
        f'<form class="full" method="post" action="/setup">{_hidden("form", form)}{_hidden("token", token)}'
        f'<input type="hidden" name="login" value="{escape(login)}" autocomplete="username">'
        f"{_new_password()}<button>Set the password</button></form>"
    )


def account(form: str, name: str, sessions: Sequence[tuple[str, str, bool]], said: str, done: str) -> str:
    """One's own account. ``sessions``: id, what is known of it, and whether it is this one."""
    rows = "".join(
        f'<div class="row"><span>{escape(text)}{" (this one)" if own else ""}</span>'
        f'<form method="post" action="/account/end">{_hidden("form", form)}{_hidden("session", session)}'
        f'<button class="plain" aria-label="End the session {escape(text)}">End</button></form></div>'
        for session, text, own in sessions
    )
    return (
        f"{problem(said)}{notice(done)}<p>Logged in as <strong>{escape(name)}</strong>.</p>"
        f'<form method="post" action="/logout">{_hidden("form", form)}<button class="plain">Log out</button></form>'
        f"<h2>Where you are logged in</h2>{rows}"
        f'<h2>Another password</h2><form method="post" action="/account/password">{_hidden("form", form)}'
        '<label for="old">The password now</label><input id="old" name="old" type="password" '
        f'autocomplete="current-password" required maxlength="{PASSWORD_CHARS_MAX}">'
        f"{_new_password()}<button>Change it</button></form>"
    )


def _new_password() -> str:
    return (
        '<label for="password">New password</label><input id="password" name="password" type="password" '
        f'autocomplete="new-password" required minlength="{PASSWORD_CHARS_MIN}" maxlength="{PASSWORD_CHARS_MAX}" '
        f'aria-describedby="rule"><p class="hint" id="rule">At least {PASSWORD_CHARS_MIN} characters; a sentence of a '
        "few words is a good one.</p>"
        '<label for="again">The same again</label><input id="again" name="again" type="password" '
        f'autocomplete="new-password" required maxlength="{PASSWORD_CHARS_MAX}">'
    )


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'
