"""Signatures of what cloud and agent tell each other: JWS in compact form with Ed25519 (RFC 7515, RFC 8037, RFC 9864).

Every signed document says what it is in its header's ``typ``, so that one of one kind never passes for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from connectors.commands.refusals import Refusal
from connectors.model.errors import LinesideError

ALGORITHM: Final = "Ed25519"
Kind = Literal[
    "lineside-command",
    "lineside-time",
    "lineside-cancel",
    "lineside-approval",
    "lineside-keys",
    "lineside-key",
    "lineside-enrolment",
    "lineside-report",
    "lineside-hello",
    "lineside-release",
]


class SignatureRefused(LinesideError):
    """The document is not signed as it has to be: the caller refuses it, with ``code``."""

    def __init__(self, code: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key of the cloud, or of an agent; ``key_id`` is its thumbprint (RFC 7638)."""

    key_id: str
    private: OKPKey

    @classmethod
    def generate(cls) -> SigningKey:
        """A new one."""
        return cls._of(OKPKey.generate_key(ALGORITHM))

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> SigningKey:
        """From a JSON Web Key. Raises ``ValueError`` when it is no private Ed25519 key."""
        try:
            key = OKPKey.import_key(dict(document))
        except (JoseError, ValueError, TypeError, KeyError) as exc:
            raise ValueError(f"it is not a JSON Web Key for {ALGORITHM} (RFC 8037): {exc}") from exc
        if not key.is_private or key.curve_name != ALGORITHM:
            raise ValueError(f"it is not a private key for {ALGORITHM} (RFC 8037)")
        return cls._of(key)

    @classmethod
    def _of(cls, key: OKPKey) -> SigningKey:
        return cls(key.thumbprint(), key)

    def to_jwk(self) -> dict[str, Any]:
        """The whole key, to be kept secret."""
        return {**self.private.as_dict(private=True), "kid": self.key_id}

    def public_jwk(self) -> dict[str, Any]:
        """What everybody may know."""
        return {**self.private.as_dict(private=False), "kid": self.key_id}

    def sign(self, kind: Kind, document: bytes) -> str:
        """``document`` with its signature, as text."""
        header = {"alg": ALGORITHM, "kid": self.key_id, "typ": kind}
        return jws.serialize_compact(header, document, self.private, algorithms=[ALGORITHM])


def unverified(sealed: str) -> tuple[str, bytes]:
    """The id of the key that ``sealed`` names, and its document: what anybody may have written.

    Raises ``SignatureRefused`` when it is no signed document.
    """
    try:
        found = jws.extract_compact(sealed.encode())
        return str(found.headers().get("kid")), found.payload
    except (JoseError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        raise SignatureRefused(Refusal.MALFORMED, "it is not a signed document (RFC 7515)") from exc


class TrustedKeys:
    """Public keys by their ids."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """``documents``: JSON Web Keys by id. Raises ``ValueError`` for one that cannot be read, or has another id."""
        self._keys: dict[str, OKPKey] = {}
        for key_id, document in (documents or {}).items():
            try:
                key = OKPKey.import_key({name: document[name] for name in ("kty", "crv", "x")})
            except (JoseError, ValueError, TypeError, KeyError) as exc:
                raise ValueError(f"the key {key_id} is not a public JSON Web Key for {ALGORITHM}: {exc}") from exc
            if key.curve_name != ALGORITHM or key.thumbprint() != key_id:
                raise ValueError(f"the key {key_id} is not what its id says")
            self._keys[key_id] = key

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def ids(self) -> tuple[str, ...]:
        """Their ids, in alphabetical order."""
        return tuple(sorted(self._keys))

    def verify(self, kind: Kind, sealed: str) -> bytes:
        """The document in ``sealed``. Raises ``SignatureRefused``: of another kind, by an unknown key, or changed."""
        try:
            found = jws.extract_compact(sealed.encode())
            header = found.headers()
        except (JoseError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
            raise SignatureRefused(Refusal.MALFORMED, "it is not a signed document (RFC 7515)") from exc
        if header.get("typ") != kind or header.get("alg") != ALGORITHM:
            said = f"{str(header.get('typ'))[:40]!r} with {str(header.get('alg'))[:20]!r}"
            raise SignatureRefused(Refusal.MALFORMED, f"it says that it is {said}, and not {kind!r} with {ALGORITHM!r}")
        key_id = header.get("kid")
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise SignatureRefused(Refusal.UNKNOWN_KEY, f"it is signed with the key {str(key_id)[:60]!r}")
        try:
            genuine = jws.validate_compact(found, key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError) as exc:
            raise SignatureRefused(Refusal.BAD_SIGNATURE, "its signature cannot be read") from exc
        if not genuine:
            raise SignatureRefused(Refusal.BAD_SIGNATURE, "its signature does not fit its content")
        return found.payload
