"""The calls of the socket for commands: arguments in, what the operators' part says out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from connectors.ports.device import Value
from edge_agent.commands.operators import Staged
from edge_agent.commands.service import Commands
from edge_agent.local_api.callers import CALLER
from edge_agent.local_api.server import Handler


class CommandCalls:
    """Answers ``lock``, ``unlock``, ``commands``, ``command``, ``approve``, ``write`` and ``run``."""

    def __init__(self, commands: Commands) -> None:
        self._operators = commands.operators
        self.handlers: Mapping[str, Handler] = {
            "lock": self.lock,
            "unlock": self.unlock,
            "commands": self.commands,
            "command": self.command,
            "approve": self.approve,
            "write": self.write,
            "run": self.run,
        }

    async def lock(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Lock ``line`` for a ``reason``."""
        lock = await self._operators.lock(_text(args, "line"), _text(args, "reason"), CALLER.get())
        yield {"line": lock.line, "reason": lock.reason, "actor": lock.actor, "time_ms": lock.time_ms}

    async def unlock(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Unlock ``line``."""
        line = _text(args, "line")
        await self._operators.unlock(line, CALLER.get())
        yield {"line": line}

    async def commands(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The newest commands, at most ``count``."""
        count = args.get("count", 20)
        if isinstance(count, bool) or not isinstance(count, int):
            raise ValueError("'count' is a whole number")
        yield await self._operators.list(count)

    async def command(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The command ``id`` with its steps."""
        yield await self._operators.show(_text(args, "id"))

    async def approve(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Agree to the command ``id``."""
        yield await self._operators.approve(_text(args, "id"), CALLER.get())

    async def write(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Write ``value``, or what the ``text`` that somebody has typed means, to ``tag`` of ``device``.

        With ``arm`` it is only armed; ``armed`` is the id of what has armed it.
        """
        value, stage = args.get("value"), _stage(args)
        if isinstance(text := args.get("text"), str):
            device, tag, reason = _text(args, "device"), _text(args, "tag"), _text(args, "reason")
            yield await self._operators.write_text(device, tag, text, reason, CALLER.get(), stage)
            return
        if not isinstance(value, bool | int | float | str):
            raise ValueError("'value' is true or false, a number or a text")
        device, tag, reason = _text(args, "device"), _text(args, "tag"), _text(args, "reason")
        yield await self._operators.write(device, tag, value, reason, CALLER.get(), stage)

    async def run(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Run the named ``command`` of ``device`` with ``arguments``, for a ``reason``; armed as ``write`` is."""
        arguments: dict[str, Value] = args.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise ValueError("'arguments' are names with values")
        device, command, reason = _text(args, "device"), _text(args, "command"), _text(args, "reason")
        if args.get("texts") is True:
            texts = {name: str(value) for name, value in arguments.items()}
            yield await self._operators.run_texts(device, command, texts, reason, CALLER.get(), _stage(args))
            return
        yield await self._operators.run(device, command, arguments, reason, CALLER.get(), _stage(args))


def _stage(args: Mapping[str, Any]) -> Staged:
    armed = _text(args, "armed") if args.get("armed") is not None else None
    arms = args.get("arm") is True
    if arms and armed is not None:
        raise ValueError("'arm' and 'armed' do not go together: arm first, then execute")
    return Staged("arm" if arms else "execute", armed)


def _text(args: Mapping[str, Any], key: str) -> str:
    value = args.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key!r} is missing, or no text")
    return value
