"""Configuration files: read with their positions, and turned into a model or into everything that is wrong."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from connectors.configuration.explain import explain, wrong_type
from connectors.configuration.setting_types import FOLDER_IN_CONTEXT
from connectors.configuration.yaml_nodes import FILE_BYTES_MAX, Document, decode_yaml, read_yaml
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource

Model = TypeVar("Model", bound=BaseModel)


def nothing_read(_path: Path, _content: bytes) -> None:
    """For who does not want to know which files are read."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a file held, and the YAML document in it."""

    content: bytes
    document: Document


def read_document(path: Path, where: str, read: Callable[[Path, bytes], None] = nothing_read) -> Document:
    """The YAML document in the file ``path``, called ``where`` in messages. Raises ``OSError`` or ``ConfigInvalid``.

    ``read`` is called with what the file holds, also when that is no YAML.
    """
    content = _file_bytes(path)
    read(path, content)
    return read_yaml(decode_yaml(content, where), where)


def read_file(path: Path) -> ReadFile:
    """The file ``path``, called so in messages. Raises ``OSError`` or ``ConfigInvalid``."""
    content = _file_bytes(path)
    return ReadFile(content, read_yaml(decode_yaml(content, str(path)), str(path)))


def load_settings(
    path: Path,
    model: type[Model],
    *,
    environ: Mapping[str, str] | None = None,
    unseen: Callable[[str], None] | None = None,
) -> Model:
    """The file ``path`` as a ``model``, secrets resolved. Raises ``ConfigInvalid`` with all problems, by line.

    ``unseen``: see ``SecretSource``; for who looks at the file of a service.
    """
    try:
        document = read_document(path, str(path))
    except OSError as exc:
        reason = f"the file cannot be read: {exc.strerror or exc}."
        raise ConfigInvalid([Problem(str(path), 0, 0, reason)]) from exc
    problems = list(document.problems)
    if not isinstance(document.value, dict):
        raise ConfigInvalid([*problems, wrong_type(document, (), "group")])
    source = SecretSource(os.environ if environ is None else environ, path.parent, unseen=unseen)
    try:
        settings = model.model_validate(
            document.value, strict=True, context={SOURCE_IN_CONTEXT: source, FOLDER_IN_CONTEXT: path.parent}
        )
    except ValidationError as exc:
        problems += explain(exc, document, (), model)
        raise ConfigInvalid(sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))) from exc
    if problems:
        raise ConfigInvalid(problems)
    return settings


def _file_bytes(path: Path) -> bytes:
    """The content of a regular file, up to one byte more than is allowed. Raises ``OSError``."""
    # Looked at before it is opened: opening a pipe would wait for somebody to write into it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is not a regular file")
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)
