"""The keys that the outbox is encrypted with, by reference like any secret."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, model_validator

from connectors.ports.secrets import Secret, UnseenSecret
from connectors.ports.settings import SettingInvalid, Settings

KEY_BYTES: Final = 32
"""AES-256."""


def parse_key(text: str) -> bytes:
    """The bytes of a key that is written in base64. Raises ``ValueError``, which does not repeat it."""
    try:
        key = b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("what the reference leads to is not base64") from exc
    if len(key) != KEY_BYTES:
        raise ValueError(f"what the reference leads to is {len(key)} bytes in base64, and a key has {KEY_BYTES}")
    return key


def _checked(secret: SecretStr) -> SecretStr:
    if isinstance(secret, UnseenSecret):
        return secret
    try:
        parse_key(secret.get_secret_value())
    except ValueError as exc:
        said = f"{exc}; write a reference to a key that 'edge-agent buffer new-key' has printed"
        raise ValueError(said) from None
    return secret


OutboxKey = Annotated[Secret, AfterValidator(_checked)]


class EncryptionSettings(Settings):
    """Encryption of the outbox at rest. Without ``key``, what is new is stored plain."""

    key: Annotated[
        OutboxKey | None,
        Field(description="New rows are sealed with it: ${credential:NAME}, ${file:/path} or ${env:NAME}"),
    ] = None
    previous_keys: Annotated[
        tuple[OutboxKey, ...],
        Field(max_length=16, description="Keys of rows that still wait; they can go after 'edge-agent buffer reseal'"),
    ] = ()

    @model_validator(mode="after")
    def _any_key(self) -> EncryptionSettings:
        if self.key is None and not self.previous_keys:
            raise SettingInvalid(
                "it names no key, so nothing would be encrypted.",
                "Add 'key', or write 'previous_keys' alone to turn encryption off.",
            )
        return self

    def key_bytes(self) -> bytes | None:
        """The key for new rows; ``None``: they are stored plain."""
        return None if self.key is None else parse_key(self.key.get_secret_value())

    def previous_key_bytes(self) -> tuple[bytes, ...]:
        """The keys that only open older rows."""
        return tuple(parse_key(key.get_secret_value()) for key in self.previous_keys)
