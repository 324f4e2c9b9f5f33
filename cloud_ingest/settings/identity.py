"""Who may log in, and whose tokens are believed: our own, and those of an OpenID provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.ports.secrets import Secret, UnseenSecret
from connectors.ports.settings import Duration, SettingInvalid, Settings

SECRET_CHARS_MIN: Final = 32
_OWN: Final = ("127.0.0.1", "::1", "localhost")
Url = Annotated[str, Field(min_length=8, max_length=500)]
RoleName = Literal["viewer", "operator", "approver", "engineer", "planner", "admin", "customer"]


def _checked_url(text: str, setting: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http") or parts.query or parts.fragment or parts.username:
        raise SettingInvalid(f"{setting!r} is no address of a server.", "Write it as https://lineside.plant-7.example")
    if parts.scheme == "http" and host not in _OWN:
        raise SettingInvalid(
            f"{setting!r} has no TLS: who is on the way could take passwords and tokens.",
            "Write https://, or an address of this machine.",
        )
    return text.rstrip("/") if setting == "issuer" else text


class OpenIdSettings(Settings):
    """An OpenID provider whose access tokens are believed: Keycloak, Entra ID, Okta and others (RFC 9068)."""

    issuer: Annotated[Url, Field(description="As its tokens have it ('iss')")]
    audience: Annotated[str, Field(min_length=1, max_length=300, description="What its tokens for us have as 'aud'")]
    algorithms: Annotated[
        tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        Field(min_length=1, max_length=10, description="Signatures that are believed; 'none' and shared keys never"),
    ] = ("RS256", "ES256")
    roles_claim: Annotated[
        str, Field(min_length=1, max_length=300, description="Where its roles stand, with dots: realm_access.roles")
    ] = "roles"
    roles: Annotated[
        Mapping[str, RoleName],
        Field(
            max_length=200,
            description="Our role for one of theirs; without an entry, 'lineside-viewer' and so on stand for ours. "
            "Theirs may end with @site or @site/line",
        ),
    ] = {}
    name_claim: Annotated[str, Field(min_length=1, max_length=300)] = "preferred_username"
    tenant: Annotated[str, Field(min_length=1, max_length=200, description="Whose tenant its people are")] = "default"
    tenant_claim: Annotated[
        str | None, Field(max_length=300, description="Where the name of their tenant stands, instead of 'tenant'")
    ] = None
    customer_claim: Annotated[
        str | None, Field(max_length=300, description="Where the customer stands for whom somebody with that role asks")
    ] = None
    insecure: Annotated[bool, Field(description="Believe an issuer without TLS")] = False

    @model_validator(mode="after")
    def _safe(self) -> OpenIdSettings:
        if not (self.insecure and self.issuer.startswith("http://")):
            _checked_url(self.issuer, "openid.issuer")
        return self


class IdentitySettings(Settings):
    """Our own logins (``issuer`` and ``secret``), those of an OpenID provider, or both."""

    issuer: Annotated[
        Url | None, Field(description="The address by which people and programs reach the gateway, in our tokens")
    ] = None
    secret: Annotated[
        Secret | None,
        Field(description="32 characters or more that keep private keys in the database unreadable; the same for all"),
    ] = None
    audience: Annotated[
        str | None, Field(min_length=1, max_length=300, description="Who our tokens are for; the issuer unless said")
    ] = None
    access_token_s: Annotated[
        Duration, Field(alias="access_token", ge=60, le=3600, description="How long one holds")
    ] = 600.0
    refresh_token_s: Annotated[
        Duration, Field(alias="refresh_token", ge=600, le=366 * 86_400, description="How long after its last use")
    ] = 14 * 86_400.0
    session_s: Annotated[
        Duration, Field(alias="session", ge=600, le=31 * 86_400, description="How long a login in a browser holds")
    ] = 12 * 3600.0
    key_s: Annotated[
        Duration, Field(alias="key", ge=86_400, le=366 * 86_400, description="How long a key signs before the next one")
    ] = 90 * 86_400.0
    openid: OpenIdSettings | None = None

    @field_validator("issuer")
    @classmethod
    def _issuer_is_safe(cls, value: str | None) -> str | None:
        return None if value is None else _checked_url(value, "issuer")

    @model_validator(mode="after")
    def _whole(self) -> IdentitySettings:
        if self.issuer is None and self.openid is None:
            raise SettingInvalid("'identity' names nobody.", "Write 'issuer' and 'secret', or 'openid', or both.")
        if (self.issuer is None) != (self.secret is None):
            missing = "secret" if self.secret is None else "issuer"
            raise SettingInvalid(f"our own logins need {missing!r}, too.", "Write both 'issuer' and 'secret'.")
        secret = None if isinstance(self.secret, UnseenSecret) else self.secret
        if secret is not None and len(secret.get_secret_value()) < SECRET_CHARS_MIN:
            raise SettingInvalid(
                f"the secret has fewer than {SECRET_CHARS_MIN} characters: it could be guessed.",
                "Make one with: openssl rand -base64 32",
                ("secret",),
            )
        return self

    @property
    def our_audience(self) -> str:
        """What our tokens have as ``aud``; empty without logins of our own."""
        return self.audience or self.issuer or ""
