"""Where the agent of a configuration file keeps its socket and its outbox, even if the file is not valid otherwise.

An operator's command has to find the agent, not to judge its configuration. It reads no secret but the keys of the
outbox, and those only to look into batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectors.configuration.explain import explain
from connectors.configuration.files import ReadFile, read_file
from connectors.configuration.yaml_nodes import Document
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
from edge_agent.config.encryption import EncryptionSettings
from edge_agent.config.models import AgentSettings, CommandSettings, LocalApiSettings, OutboxSettings


def socket_path(config: Path) -> Path:
    """The socket of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return _place(config, "local_api", "socket", LocalApiSettings().socket)


def outbox_path(config: Path) -> Path:
    """The outbox of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return _place(config, "outbox", "path", OutboxSettings().path)


def journal_path(config: Path) -> Path:
    """The command journal of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return _place(config, "commands", "journal", CommandSettings().journal)


def trusted_keys_path(config: Path) -> Path:
    """The file of trusted keys of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return _place(config, "commands", "trusted_keys", CommandSettings().trusted_keys)


def releases_path(config: Path) -> Path:
    """The folder of the releases of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return data_dir(config) / "releases"


def data_dir(config: Path) -> Path:
    """The folder that a running agent holds. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return data_dir_in(_read(config), config)


def data_dir_in(document: Document, config: Path) -> Path:
    """The same of a file ``config`` that was read already."""
    named = _text(document.value, "agent", "data_dir")
    return config.parent / (named or str(AgentSettings.model_fields["data_dir"].default))


def agent_name(config: Path) -> str:
    """``group/name``, or nothing where one is missing. Raises ``ConfigInvalid``."""
    document = _read(config).value
    group, name = _text(document, "agent", "group"), _text(document, "agent", "name")
    return f"{group}/{name}" if group and name else ""


def outbox_keys(config: Path, environ: Mapping[str, str]) -> EncryptionSettings | None:
    """The keys of the outbox; ``None`` where the file names none.

    Raises ``ConfigInvalid`` when the file cannot be read as YAML, or something is wrong with that section.
    """
    document = _read(config)
    outbox = document.value.get("outbox") if isinstance(document.value, dict) else None
    section = outbox.get("encryption") if isinstance(outbox, dict) else None
    if section is None:
        return None
    try:
        source = {SOURCE_IN_CONTEXT: SecretSource(environ, config.parent)}
        return EncryptionSettings.model_validate(section, strict=True, context=source)
    except ValidationError as exc:
        problems = explain(exc, document, ("outbox", "encryption"), EncryptionSettings)
    raise ConfigInvalid(problems)


def _place(config: Path, section: str, key: str, default: Path) -> Path:
    document = _read(config)
    return data_dir_in(document, config) / (_text(document.value, section, key) or default)


def _read(config: Path) -> Document:
    return read_main(config).document


def read_main(config: Path) -> ReadFile:
    """The agent's own file. Raises ``ConfigInvalid`` when it cannot be read as YAML."""
    try:
        return read_file(config)
    except OSError as exc:
        reason = f"the configuration cannot be read: {exc.strerror}."
        raise ConfigInvalid([Problem(str(config), 0, 0, reason, "Name the file with --config.")]) from exc


def _text(document: Any, section: str, key: str) -> str:
    part = document.get(section) if isinstance(document, dict) else None
    value = part.get(key) if isinstance(part, dict) else None
    return value if isinstance(value, str) else ""
