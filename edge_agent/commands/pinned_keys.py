"""The public keys of the cloud that this agent trusts: a JSON file that enrolment writes.

``{"keys": {KEY ID: JWK, …}}``, JSON Web Keys for Ed25519 (RFC 8037) by their thumbprints. Without the file no command
of the cloud can be known for one, and every one is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.configuration.durable_files import replace_file
from connectors.model.errors import LinesideError

if TYPE_CHECKING:
    from connectors.commands.signing import TrustedKeys

FILE_BYTES_MAX: Final = 256 * 1024
KEYS_MAX: Final = 100


class KeysUnreadable(LinesideError):
    """The file cannot be read, or is not what it should be: the caller trusts nobody, and says so."""


def read_pinned_keys(path: Path) -> TrustedKeys:
    """The keys in the file ``path``; none when there is no such file. Raises ``KeysUnreadable``."""
    from connectors.commands.signing import TrustedKeys  # some MB that an agent without keys can do without

    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return TrustedKeys()
    except OSError as exc:
        raise KeysUnreadable(f"the trusted keys {path} cannot be read: {exc.strerror or exc}") from exc
    try:
        return TrustedKeys(_keys(text))
    except ValueError as exc:
        raise KeysUnreadable(f"the trusted keys {path} cannot be used: {exc}") from exc


def write_pinned_keys(path: Path, keys: dict[str, dict[str, Any]]) -> None:
    """Write the file anew, all or nothing, also when the power fails; root gives it to whom the folder belongs.

    Raises ``OSError``, ``ValueError`` for what could not be read again.
    """
    text = json.dumps({"keys": keys}, indent=2, sort_keys=True).encode() + b"\n"
    from connectors.commands.signing import TrustedKeys

    TrustedKeys(_keys(text))
    beside = path.with_name(f"{path.name}.new")
    replace_file(beside, path, text, mode=0o644)


def _keys(text: bytes) -> dict[str, dict[str, Any]]:
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"it is larger than {FILE_BYTES_MAX:,} bytes")
    try:
        keys = json.loads(text)["keys"]
        found = {str(key_id): dict(key) for key_id, key in keys.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ValueError('it is not {"keys": {"ID": {…}}}') from exc
    if len(found) > KEYS_MAX:
        raise ValueError(f"it has more than {KEYS_MAX} keys")
    return found
