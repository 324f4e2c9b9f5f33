"""What commands need before the first one can be sent: a signing key, a token of the API, and keys the agent trusts.

They are made once, by the commands that anybody would use, and kept in the folder: a second start finds them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from connectors.model.errors import LinesideError
from edge_agent.commands.pinned_keys import write_pinned_keys
from lineside.demo.folder import DemoFolder

ISSUER: Final = "demo"
"""The name of the token: who has asked for the commands of the demo."""
COMMAND_S_MAX: Final = 60.0


class AccessNotMade(LinesideError):
    """The key, the token or the trusted keys could not be made: the text says why."""


class Access:
    """The files by which commands are signed, asked for and trusted; ``cloud_ingest`` is the program."""

    def __init__(self, folder: DemoFolder, cloud_ingest: str) -> None:
        self._folder = folder
        self._cloud_ingest = cloud_ingest

    @property
    def is_made(self) -> bool:
        """Whether an earlier start has made all of it."""
        folder = self._folder
        return all(path.exists() for path in (folder.signing_key, folder.trusted_keys, *_tokens(folder).values()))

    def forget(self) -> None:
        """Forget what belongs to a database that is no more."""
        shutil.rmtree(self._folder.access, ignore_errors=True)
        self._folder.trusted_keys.unlink(missing_ok=True)

    def make(self) -> None:
        """Make what is missing. PostgreSQL has to run, the agent not yet. Raises ``AccessNotMade``."""
        folder = self._folder
        try:
            folder.access.mkdir(mode=0o700, exist_ok=True)
            folder.trusted_keys.parent.mkdir(mode=0o700, exist_ok=True)
            self._ask("migrate")
            if not folder.signing_key.exists():
                self._ask("keys", "create")
            for (name, role), path in _tokens(folder).items():
                if not path.exists():
                    self._write_token(name, role, path)
            write_pinned_keys(folder.trusted_keys, json.loads(self._ask("keys", "export"))["keys"])
        except (OSError, ValueError, KeyError) as exc:
            raise AccessNotMade(f"what commands need could not be made: {exc}") from exc

    def apply_plant(self) -> None:
        """Have the lines be as their file says. Raises ``AccessNotMade``."""
        self._ask("lines", "apply", str(self._folder.plant_model))

    def _write_token(self, name: str, role: str, path: Path) -> None:
        create = ("token", "create", name, "--role", role)
        finished = self._run(create)
        if finished.returncode:  # an earlier start has made one, and was stopped before it had kept it
            self._run(("token", "revoke", name))
            finished = self._run(create)
        token = _printed(create, finished).strip()
        beside = path.with_name(f"{path.name}.new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(token)
        beside.replace(path)

    def _ask(self, *arguments: str) -> str:
        return _printed(arguments, self._run(arguments))

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [self._cloud_ingest, *arguments, "--config", str(self._folder.cloud_config)]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False)
        except subprocess.TimeoutExpired as exc:
            raise AccessNotMade(f"cloud-ingest {' '.join(arguments)} has not ended within {COMMAND_S_MAX:g} s") from exc


def _tokens(folder: DemoFolder) -> dict[tuple[str, str], Path]:
    """Where the token of each (name, role) is kept."""
    return {
        (ISSUER, "operator"): folder.token,
        ("demo planner", "planner"): folder.planner_token,
        ("demo engineer", "engineer"): folder.engineer_token,
    }


def _printed(arguments: Sequence[str], finished: subprocess.CompletedProcess[str]) -> str:
    if finished.returncode:
        said = finished.stderr.strip() or f"exit code {finished.returncode}"
        raise AccessNotMade(f"cloud-ingest {' '.join(arguments)}: {said}")
    return finished.stdout
