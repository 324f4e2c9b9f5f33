"""Secrets by reference: a file of settings says where a secret is, and never holds the secret itself.

``${env:NAME}`` is an environment variable, ``${file:/path}`` the content of a file, and ``${credential:name}`` one of
the credentials that systemd gives to a service (``LoadCredential=``, systemd.exec(5)). No message names a value.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema

SECRET_BYTES_MAX: Final = 64 * 1024
SOURCE_IN_CONTEXT: Final = "secrets"
"""The key of a ``SecretSource`` in the context of a validation; without it, this process's own environment is used."""

REFERENCE_PATTERN: Final = r"^\$\{(env|file|credential):[^{}]+\}$"
_REFERENCE: Final = re.compile(r"\$\{(env|file|credential):([^{}\x00-\x1f]+)\}")
_HOW: Final = "write a reference to it: ${credential:NAME}, ${file:/path} or ${env:NAME}"


class UnseenSecret(SecretStr):
    """Stands for a credential of the service where a file is only looked at; nothing can be checked by it."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where references lead: the environment of a process, and the folder that relative file names start from.

    ``read`` is called with each file that a reference leads to, and with what it holds. ``unseen`` is called with the
    name of a credential where this process has none at all, and an ``UnseenSecret`` stands for it; without ``unseen``
    such a reference leads to nothing.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    folder: Path = field(default_factory=Path)
    read: Callable[[Path, bytes], None] = lambda _path, _content: None
    unseen: Callable[[str], None] | None = None

    def resolve(self, reference: str) -> SecretStr:
        """The secret behind ``reference``; one line break at the end of a file does not count.

        Raises ``ValueError`` with a sentence that names the reference, when it leads to nothing. A text that is no
        reference may be a secret: it is refused without being repeated.
        """
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            raise ValueError(f"a secret does not stand in this file; {_HOW}")
        kind, name = found[1], found[2]
        if kind == "env":
            if not self.environ.get(name):
                raise ValueError(f"the environment variable {name!r} is not set, or empty")
            return SecretStr(self.environ[name])
        if kind == "file":
            return _read(self.folder / name, self.read)
        folder = self.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder and self.unseen is not None:
            self.unseen(name)
            return UnseenSecret("")
        if not folder:
            raise ValueError(
                f"this process has no credentials, so none is called {name!r}; write LoadCredential={name}:/path into "
                "its systemd unit, or use ${file:/path}"
            )
        if "/" in name or name in (".", ".."):
            raise ValueError(f"{name!r} is not the name of a credential; it has no '/'")
        return _read(Path(folder) / name, self.read)


def _read(path: Path, read: Callable[[Path, bytes], None]) -> SecretStr:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{str(path)!r} is not a file")
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
        read(path, data)
        text = data.decode()
    except OSError as exc:
        raise ValueError(f"the file {str(path)!r} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(data) > SECRET_BYTES_MAX:
        raise ValueError(f"the file {str(path)!r} does not hold a secret: it is larger than 64 KiB, or not UTF-8 text")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError(f"the file {str(path)!r} is empty")
    return SecretStr(secret)


def _secret(value: Any, info: ValidationInfo) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValueError(f"a secret does not stand in this file; {_HOW}")
    source = (info.context or {}).get(SOURCE_IN_CONTEXT) or SecretSource()
    if not isinstance(source, SecretSource):
        raise TypeError(f"context[{SOURCE_IN_CONTEXT!r}] is a SecretSource")
    return source.resolve(value)


Secret = Annotated[
    SecretStr,
    BeforeValidator(_secret),
    WithJsonSchema({"type": "string", "pattern": REFERENCE_PATTERN, "writeOnly": True}),
]
"""A field that takes a reference (or, from code, a ``SecretStr``) and holds the secret, hidden from logs."""
