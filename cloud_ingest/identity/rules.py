"""Rules of logins and tokens, without I/O or a clock.

OAuth 2.1 (draft-ietf-oauth-v2-1): authorization code with PKCE by S256 alone, client credentials, refresh tokens that
are used once. Neither the implicit grant nor one by password exists.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from cloud_ingest.access.permissions import Permission, Role
from cloud_ingest.access.principal import Grant

PASSWORD_CHARS_MIN: Final = 12
PASSWORD_CHARS_MAX: Final = 256
ACCOUNT_FREE: Final = 5
"""So many failures cost no waiting: people mistype."""
ADDRESS_FREE: Final = 20
"""More than an account has: a plant's people may share one address."""
DELAY_FIRST_S: Final = 1.0
DELAY_LONGEST_S: Final = 900.0
FORGOTTEN_S: Final = 86_400.0
"""After so long without a failure, earlier ones count no more."""
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOGIN: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,199}")
_CODE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
OPENID: Final = "openid"
OFFLINE: Final = "offline_access"
_EVERY_SCOPE: Final = frozenset({OPENID, "profile", OFFLINE, *(permission.value for permission in Permission)})
_TOO_COMMON: Final = frozenset(
    {
        "password1234", "passwordpassword", "123456789012", "1234567890123", "qwertyuiopas", "qwertyuiop12",
        "administrator", "adminadminadmin", "letmeinletmein", "lineside1234", "changemechangeme", "iloveyou1234",
    }
)  # fmt: skip


def challenge_fits(challenge: str, verifier: str) -> bool:
    """Whether ``verifier`` is what ``challenge`` was made of by S256 (RFC 7636, sections 4.1, 4.2 and 4.6)."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return hmac.compare_digest(made, challenge)


def is_challenge(text: str) -> bool:
    """Whether ``text`` can be a challenge of S256: 256 bits in base64url without padding."""
    return _CHALLENGE.fullmatch(text) is not None


def redirect_fits(registered: Collection[str], asked: str) -> bool:
    """Whether ``asked`` is one of ``registered``, character by character.

    Of a program on the asker's own machine (RFC 8252, section 7.3) the port may be another: it is found at each start.
    """
    if asked in registered:
        return True
    without_port = _loopback(asked)
    return without_port is not None and any(without_port == _loopback(one) for one in registered)


def redirect_problem(uri: str) -> str | None:
    """Why an app cannot have ``uri`` as its redirect URI; ``None`` when it can."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return "it is no address"
    if "#" in uri:
        return "it has a fragment"
    if any(not "!" <= char <= "~" for char in uri):
        return "it has characters that an address does not have"
    if parts.scheme == "https" and host:
        return None
    if parts.scheme == "http" and host and _is_loopback(host):
        return None
    return "it begins with neither https:// nor http://127.0.0.1"


def _loopback(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or not _is_loopback(host) or "@" in parts.netloc or "#" in uri:
        return None
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_answer(uri: str, answer: dict[str, str]) -> str:
    """``uri`` with ``answer`` behind what it asks already."""
    parts = urlsplit(uri)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *answer.items()]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def scope_of(text: str) -> str | None:
    """The scope as it is kept: known words, once each, sorted; ``None`` when a word is not known."""
    words = set(text.split())
    return " ".join(sorted(words)) if words <= _EVERY_SCOPE else None


def is_narrower(asked: str, given: str) -> bool:
    """Whether the scope ``asked`` has nothing that ``given`` has not (RFC 6749, section 6).

    One without permissions is no part of one that has some: its token may all that its holder may.
    """
    if scopes_of(asked) is None and scopes_of(given) is not None:
        return False
    return set(asked.split()) <= set(given.split())


def scopes_of(scope: str) -> frozenset[Permission] | None:
    """The permissions that a token is cut down to; ``None``: it may what its holder may."""
    known = {permission.value: permission for permission in Permission}
    named = frozenset(known[word] for word in scope.split() if word in known)
    return named or None


class Rotation(Enum):
    """What becomes of a refresh token that is shown."""

    NEW = "new"
    """It is used up, and another takes its place."""
    REVOKE = "revoke"
    """It was used before: thief or owner, nobody knows which of them shows it. All of its family end."""
    REFUSE = "refuse"
    """It holds no more."""


def rotation(*, used: bool, revoked: bool, expires_ms: int, now_ms: int) -> Rotation:
    """What becomes of a refresh token, and of its family (OAuth 2.1, section 4.3.1)."""
    if revoked:
        return Rotation.REFUSE
    if used:
        return Rotation.REVOKE
    return Rotation.REFUSE if now_ms >= expires_ms else Rotation.NEW


@dataclass(frozen=True, slots=True)
class Attempts:
    """Failed attempts at one account or from one address. Times are seconds since 1970."""

    failures: int = 0
    last_s: float = 0.0
    closed_until_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long nobody is tried here; 0 when somebody may."""
        return max(0.0, self.closed_until_s - now_s)

    def failed(self, now_s: float, free: int) -> Attempts:
        """After one more failure: behind ``free`` of them, each one doubles the time until the next attempt."""
        failures = 1 if now_s - self.last_s > FORGOTTEN_S else self.failures + 1
        wait_s = delay_s(failures, free)  # without it, who came at the same time is tried, too
        return Attempts(failures, now_s, now_s + wait_s if wait_s else 0.0)


def delay_s(failures: int, free: int) -> float:
    """How long after that many failures the next attempt waits."""
    if failures <= free:
        return 0.0
    doublings = failures - free - 1
    return DELAY_LONGEST_S if doublings > 20 else min(DELAY_LONGEST_S, DELAY_FIRST_S * 2.0**doublings)


def password_problem(password: str, login: str) -> str | None:
    """Why ``password`` is not taken (NIST SP 800-63B, section 5.1.1.2: long, not common, nothing else); or ``None``."""
    if len(password) < PASSWORD_CHARS_MIN:
        return f"a password has at least {PASSWORD_CHARS_MIN} characters; a sentence of a few words is a good one"
    if len(password) > PASSWORD_CHARS_MAX:
        return f"a password has at most {PASSWORD_CHARS_MAX} characters"
    plain = password.casefold()
    if len(set(plain)) < 4 or plain in _TOO_COMMON:
        return "that is one of the first passwords that are tried: take another"
    name = login.partition("@")[0]
    if login and (plain == login or (len(name) > 3 and plain.replace(name, "").strip("0123456789!.-_ ") == "")):
        return "that is little more than the name: take another"
    return None


def login_of(text: str) -> str | None:
    """The login as it is kept, in lower case; ``None`` when it can be none."""
    login = text.strip().casefold()
    return login if _LOGIN.fullmatch(login) else None


def grants_problem(grants: Collection[Grant], customer: str | None) -> str | None:
    """Why somebody cannot have these roles; or ``None``."""
    for grant in grants:
        if grant.line is not None and grant.site is None:
            return f"the line {grant.line!r} needs its site"
        for code in (grant.site, grant.line):
            if code is not None and _CODE.fullmatch(code) is None:
                return f"{code!r} is no code of a site or line: small letters, digits and '-'"
        if grant.role is Role.CUSTOMER and grant.site is not None:
            return "a customer has no site: they see their orders, wherever these are made"
    is_customer = any(grant.role is Role.CUSTOMER for grant in grants)
    if is_customer and customer is None:
        return "the role customer needs the customer whose orders they see"
    if customer is not None and any(grant.role is not Role.CUSTOMER for grant in grants):
        return "who asks for a customer has the role customer, and no other"
    return None


def parse_grant(text: str) -> Grant:
    """``role``, ``role@site`` or ``role@site/line``. Raises ``ValueError`` with a sentence."""
    name, _, place = text.strip().partition("@")
    try:
        role = Role(name)
    except ValueError:
        raise ValueError(f"{name!r} is no role; they are {', '.join(role.value for role in Role)}") from None
    site, _, line = place.partition("/")
    return Grant(role, site or None, line or None)


def grant_text(grant: Grant) -> str:
    """The opposite of ``parse_grant``."""
    if grant.site is None:
        return grant.role.value
    return f"{grant.role.value}@{grant.site}" + (f"/{grant.line}" if grant.line is not None else "")


def return_place(text: str) -> str:
    """Where the browser goes after a login: to our own authorization endpoint, or to the account's page."""
    safe = text.startswith("/oauth/authorize?") and all("!" <= char <= "~" for char in text) and "\\" not in text
    return text if safe else "/account"
