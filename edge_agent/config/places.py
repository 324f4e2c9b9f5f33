"""Where the agent of a configuration file keeps its socket and its outbox, even if the file is not valid otherwise.

An operator's command has to find the agent, not to judge its configuration, and may not read its secrets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors.configuration.files import read_document
from connectors.model.errors import ConfigInvalid, Problem
from edge_agent.config.models import AgentSettings, LocalApiSettings, OutboxSettings


def socket_path(config: Path) -> Path:
    """The socket of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return _place(config, "local_api", "socket", LocalApiSettings().socket)


def outbox_path(config: Path) -> Path:
    """The outbox of the agent. Raises ``ConfigInvalid`` when the file cannot be read as YAML."""
    return _place(config, "outbox", "path", OutboxSettings().path)


def _place(config: Path, section: str, key: str, default: Path) -> Path:
    try:
        document: Any = read_document(config, str(config)).value
    except OSError as exc:
        reason = f"the configuration cannot be read: {exc.strerror}."
        raise ConfigInvalid([Problem(str(config), 0, 0, reason, "Name the file with --config.")]) from exc
    value = _text(document, section, key)
    data_dir = _text(document, "agent", "data_dir") or str(AgentSettings.model_fields["data_dir"].default)
    return config.parent / data_dir / (value or default)


def _text(document: Any, section: str, key: str) -> str:
    part = document.get(section) if isinstance(document, dict) else None
    value = part.get(key) if isinstance(part, dict) else None
    return value if isinstance(value, str) else ""
