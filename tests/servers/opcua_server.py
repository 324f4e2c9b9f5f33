"""The program behind ``tests.servers.opcua``: a server of open62541 (by the o6 wheel) that obeys commands.

One dictionary a command, one answer each: ``{"ok": …}`` or ``{"error": SENTENCE}``. It ends when the pipe does, so that
it never outlives the test that started it; o6 itself ends after ten minutes.

* ``add``: identifier, type (also one of ``opcua_types``), value (a list: an array; a dictionary: a structure; ``None``:
  none yet), and perhaps ``writable`` and ``datatype`` (the node id of its declared type); the node id is
  ``ns=1;s=identifier``
* ``write``: identifier, type, value (``None``: none), and perhaps ``status`` (a code), ``time_ns`` (source time) and
  ``held_s`` (for how long nothing else is obeyed)
* ``read``: identifier; (type, value, source time) as the server has them, the time as text
* ``object``: identifier
* ``method``: identifier, object (its identifier), inputs (name, type id and value rank of each), and perhaps
  ``outputs`` and ``status`` (a code, that it answers with); it returns its inputs
* ``calls``: the inputs of each call of a method
* ``remove``: identifier
* ``user``, ``password``: nobody else is let in from now on
* ``sessions``: how many there are

Only the server's own process may import this module: importing o6 takes two seconds, and greets on standard output.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

for _stream in (1, 2):
    os.dup2(os.open(os.devnull, os.O_WRONLY), _stream)

import o6  # noqa: E402
from o6.ns.ns0.datatypes import Argument  # noqa: E402

from tests.servers import opcua_types  # noqa: E402

EPOCH_TICKS: Final = 116_444_736_000_000_000
NAMESPACE: Final = "urn:lineside:tests:press"
_SCALARS: Final = {
    "Boolean": bool,
    "SByte": o6.SByte,
    "Byte": o6.Byte,
    "Int16": o6.Int16,
    "UInt16": o6.UInt16,
    "Int32": o6.Int32,
    "UInt32": o6.UInt32,
    "Int64": o6.Int64,
    "UInt64": o6.UInt64,
    "Float": o6.Float,
    "Double": o6.Double,
    "String": str,
    "Guid": o6.Guid,
    "NodeId": o6.NodeId,
    "QualifiedName": o6.QualifiedName,
    "LocalizedText": lambda text: o6.LocalizedText(f"en:{text}"),
    "ByteString": lambda text: o6.ByteString(base64.b64decode(text)),
    "DateTime": lambda time_ns: o6.DateTime(EPOCH_TICKS + time_ns // 100),
}


_FIELDS: Final = {"Recipe": ("name", "temperatures", "passes"), "Report": ("code", "note", "weight")}
_STRUCTURES: Final = {"Recipe": opcua_types.Recipe, "Report": opcua_types.Report}


class Doorkeeper(o6.AccessControl):
    """Lets everybody in, or one user; knows who is there."""

    def __init__(self) -> None:
        super().__init__(anonymous=True, username=True)
        self.login: tuple[str, str] | None = None
        self.sessions: set[str] = set()

    def activateSession(self, endpoint: Any, remoteCertificate: bytes, session: Any, userIdentityToken: Any) -> Any:  # noqa: N802, N803  o6's names
        if self.login is not None:
            name = str(getattr(userIdentityToken, "userName", ""))
            password = bytes(getattr(userIdentityToken, "password", b"")).decode()
            if (name, password) != self.login:
                raise o6.StatusCodeError(o6.StatusCode.BAD_USER_ACCESS_DENIED)
        self.sessions.add(str(session.id))

    def closeSession(self, session: Any) -> None:  # noqa: N802  o6's name
        self.sessions.discard(str(session.id))


def value_of(kind: str, value: Any) -> Any:
    """A value of type ``kind`` as o6 takes it."""
    if value is None:
        return None
    if kind in _STRUCTURES:
        make_one = _STRUCTURES[kind]
        return [make_one(**each) for each in value] if isinstance(value, list) else make_one(**value)
    make = _SCALARS[kind]
    return [make(part) for part in value] if isinstance(value, list) else make(value)


def plain(value: Any) -> Any:
    """A value of o6 as any process can read it."""
    if isinstance(value, list) or getattr(value, "ndim", 0):
        return [plain(each) for each in value]
    if hasattr(value, "item"):
        return value.item()
    if type(value).__name__ in _STRUCTURES:
        return {name: plain(getattr(value, name)) for name in _FIELDS[type(value).__name__]}
    return value if isinstance(value, (bool, int, float, str, bytes)) or value is None else str(value)


def arguments(described: Any) -> list[Any]:
    """The arguments of a method, of (name, type id, value rank) each."""
    return [Argument(name=name, dataType=f"i={kind}", valueRank=rank) for name, kind, rank in described]


class CommandedServer:
    """The server and what it can be told."""

    def __init__(self, port: int, own: tuple[Path, Path, str] | None) -> None:
        self._calls: list[tuple[Any, ...]] = []
        self._door = Doorkeeper()
        secured: dict[str, Any] = {"applicationUri": NAMESPACE}
        if own is not None:
            certificate, key, uri = own
            secured = {
                "certificate": certificate,
                "privateKey": key,
                "applicationUri": uri,
                "acceptAllCertificates": True,
            }
        self._server = o6.Server(port=port, accessControl=self._door, allowNonePolicyPassword=True, **secured)

    async def run(self, commands: Connection) -> None:
        """Obey until the pipe ends."""
        self._server.start()
        await self._server.waitReady()
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(commands.fileno(), readable.set)
        commands.send({"ok": NAMESPACE})
        while True:
            await readable.wait()
            readable.clear()
            while commands.poll():
                try:
                    command = commands.recv()
                except EOFError:
                    return
                commands.send(await self._obeyed(command))

    def _method(self, status: int) -> Callable[..., tuple[Any, ...]]:
        def called(node: Any, *inputs: Any) -> tuple[Any, ...]:
            self._calls.append(tuple(plain(value) for value in inputs))
            return (o6.StatusCode(status), *inputs)

        return called

    async def _obeyed(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": await self._obey(command)}
        except (o6.StatusCodeError, TypeError, ValueError, KeyError) as exc:
            return {"error": f"{type(exc).__name__}: {exc}"}

    async def _obey(self, command: dict[str, Any]) -> Any:
        match command:
            case {"add": name, "type": kind, "value": value}:
                if kind in _STRUCTURES:
                    self._server.ns.append(opcua_types)  # once; a server without structures has no namespace for them
                node = await self._server.addVariable(
                    name,
                    self._server.objectsNode,
                    value_of(kind, value),
                    nodeId=f"ns=1;s={name}",
                    dataType=command.get("datatype"),
                    writable=bool(command.get("writable")),
                )
                return str(node)
            case {"write": name, "type": kind, "value": value}:
                data = o6.DataValue(value=value_of(kind, value))
                if "status" in command:
                    data.status = o6.StatusCode(command["status"])
                if "time_ns" in command:
                    data.sourceTimestamp = o6.DateTime(EPOCH_TICKS + command["time_ns"] // 100)
                (await self._server.write(f"ns=1;s={name}", data)).check()
                await asyncio.sleep(command.get("held_s", 0.0))
            case {"read": name}:
                data = await self._server.read(f"ns=1;s={name}", valueOnly=False)
                return type(data.value).__name__, plain(data.value), str(data.sourceTimestamp)
            case {"method": name, "object": owner, "inputs": inputs}:
                await self._server.addMethod(
                    name,
                    f"ns=1;s={owner}",
                    self._method(command.get("status", 0)),
                    inputArgs=arguments(inputs),
                    outputArgs=arguments(command.get("outputs", inputs)),
                    nodeId=o6.NodeId(f"ns=1;s={name}"),
                )
            case {"object": name}:
                await self._server.addObject(name, self._server.objectsNode, nodeId=f"ns=1;s={name}")
            case {"calls": _}:
                return self._calls
            case {"remove": name}:
                (await self._server.deleteNode(f"ns=1;s={name}")).check()
            case {"user": user, "password": password}:
                self._door.login = (user, password)
            case {"sessions": _}:
                return len(self._door.sessions)
            case _:
                raise ValueError(f"no such command: {command}")
        return None


def serve(port: int, commands: Connection, own: tuple[Path, Path, str] | None) -> None:
    """Serve on ``port`` of the loopback interface until the other end of ``commands`` is closed."""

    async def main() -> None:  # the server belongs to the event loop in which it is made
        await CommandedServer(port, own).run(commands)

    asyncio.run(main())
    os._exit(0)
