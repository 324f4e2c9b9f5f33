"""The public keys of the cloud that this agent trusts: a JSON file that enrolment writes.

``{"keys": {KEY ID: JWK, …}}``, JSON Web Keys for Ed25519 (RFC 8037) by their thumbprints. Without the file no command
of the cloud can be known for one, and every one is refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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


def replace_file(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
    """Write ``content`` to ``beside``, and have it be ``path`` once it is on the disk. Raises ``OSError``."""
    beside.unlink(missing_ok=True)
    write_new_file(beside, content, mode=mode)
    beside.replace(path)
    sync_folder(path.parent)


def write_new_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write the new file ``path`` to the disk; root gives it to whom the folder belongs. Raises ``OSError``."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` be on the disk. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
