"""The calls of the socket for device files: what there is, what is kept of one, and to go back to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from connectors.commands.envelope import ApplyDeviceFile
from edge_agent.commands.apply_file import ApplyFileWork
from edge_agent.commands.operators import NotPossible
from edge_agent.commands.service import Commands
from edge_agent.config.device_files import DeviceFiles
from edge_agent.local_api.callers import CALLER
from edge_agent.local_api.server import Handler


def file_handlers(commands: Commands, applying: ApplyFileWork | None) -> Mapping[str, Handler]:
    """Answers ``files``, ``file`` and ``file_rollback``, where the agent has device files."""
    if applying is None:
        return {}
    calls = _FileCalls(commands, applying.files)
    return {"files": calls.files, "file": calls.file, "file_rollback": calls.roll_back}


def described(files: DeviceFiles, name: str) -> dict[str, Any]:
    """A file with what is kept of it. Raises ``NotPossible`` when there is none of that name."""
    records = files.store.records()
    now = next((asdict(file) for file in files.now(records) if file.name == name), None)
    record = records.of(name)
    if now is None and record.current is None:
        known = ", ".join(file.name for file in files.now(records)) or "none"
        raise NotPossible(f"there is no device file {name!r}; there are {known}")
    return {
        "name": name,
        "now": now,
        "current": None if record.current is None else record.current.model_dump(),
        "before": [content.model_dump() for content in record.before],
        "failure": None if record.failure is None else record.failure.model_dump(),
    }


class _FileCalls:
    def __init__(self, commands: Commands, files: DeviceFiles) -> None:
        self._operators = commands.operators
        self._files = files

    async def files(self, _args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Every device file."""
        yield [asdict(file) for file in await asyncio.to_thread(self._files.now)]

    async def file(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The file ``file``."""
        yield await asyncio.to_thread(described, self._files, str(args.get("file")))

    async def roll_back(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Use the content before of ``file``, or the one whose SHA-256 begins with ``to``; for a ``reason``.

        It is tried for ``health_s``.
        """
        name, reason = str(args.get("file")), str(args.get("reason") or "")
        now = await asyncio.to_thread(self._files.store.sha256, name)
        records = await asyncio.to_thread(self._files.store.records)
        content = records.earlier(name, now, str(args.get("to") or ""))
        if content is None:
            raise NotPossible(f"no other content of {name} is kept; 'edge-agent config show {name}' lists them")
        action = ApplyDeviceFile(
            name=name,
            version=content.version,
            content="",
            sha256=content.sha256,
            replaces=now,
            health_s=args.get("health_s", 60),
        )
        yield await self._operators.begin(action, reason, CALLER.get())
