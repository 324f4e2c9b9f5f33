"""``lineside.v1.CommandService``: commands, with the checks that REST makes, by the same functions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.sight import sight_of
from cloud_ingest.access.tenancy import TenantDatabase
from cloud_ingest.commands import questions
from cloud_ingest.commands.requests import Requests
from cloud_ingest.gateway.commands import cancel_command, take_command
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.live.subscription import Subscribe
from cloud_ingest.gateway.rpc import bounds
from cloud_ingest.gateway.rpc.calls import Call, Served
from cloud_ingest.gateway.rpc.command_messages import command_message, request_of, status_message
from cloud_ingest.gateway.rpc.listening import listening
from cloud_ingest.gateway.rpc.method_table import CANCEL_COMMAND, GET_COMMAND, SEND_COMMAND, WATCH_COMMAND
from connectors.commands.envelope import TEXT_MAX
from connectors.commands.states import FINAL, CommandState
from connectors.lineside_api.v1.commands_pb2 import (
    CancelCommandRequest,
    Command,
    CommandStatus,
    GetCommandRequest,
    SendCommandRequest,
    WatchCommandRequest,
)
from connectors.ports.database import Database

CURSOR_MAX: Final = (1 << 63) - 1


class CommandService:
    """See the module."""

    def __init__(self, database: Database, requests: Requests, hub: LiveHub) -> None:
        self._database = database
        self._requests = requests
        self._hub = hub

    def methods(self) -> list[Served]:
        """What the server serves."""
        return [
            Served(SEND_COMMAND, SendCommandRequest, answer=self.send_command),
            Served(GET_COMMAND, GetCommandRequest, answer=self.get_command),
            Served(WATCH_COMMAND, WatchCommandRequest, answers=self.watch_command),
            Served(CANCEL_COMMAND, CancelCommandRequest, answer=self.cancel_command),
        ]

    async def send_command(self, call: Call, request: SendCommandRequest) -> Command:
        """See the ``.proto`` file, as for all of these."""
        asked, key = request_of(request), request.idempotency_key
        taken = await take_command(self._requests, call.principal, asked, key)
        return command_message(await self._one(call, taken))

    async def get_command(self, call: Call, request: GetCommandRequest) -> Command:
        """One with all its states."""
        return command_message(await self._one(call, request.id))

    async def cancel_command(self, call: Call, request: CancelCommandRequest) -> Command:
        """Take it back, or ask its agent to."""
        bounds.between("the length of reason", len(request.reason), 0, TEXT_MAX)
        await cancel_command(self._database, self._requests, call.principal, request.id, request.reason)
        return command_message(await self._one(call, request.id))

    async def watch_command(self, call: Call, request: WatchCommandRequest) -> AsyncGenerator[CommandStatus, None]:
        """Read from the table, whenever the hub hears of the command: none is left out, however slow the client is."""
        cursor = bounds.between("after", request.after, 0, CURSOR_MAX)
        found = await self._one(call, request.id)
        asked = Subscribe(commands=(found["agent"],))
        async with listening(self._hub, call.principal, asked) as listener:
            while True:
                found = await self._one(call, request.id)
                for state in found["states"]:
                    if state["cursor"] > cursor:
                        cursor = state["cursor"]
                        yield status_message(state)
                if _is_over(CommandState(found["state"]), until_known=request.until_known):
                    return
                while not _is_about(await listener.message(), request.id):
                    pass

    async def _one(self, call: Call, command: str) -> dict[str, Any]:
        seen = TenantDatabase(self._database, call.principal.tenant_id)
        return await questions.command(seen, command, sight_of(call.principal, Permission.COMMANDS_READ))


def _is_about(message: Mapping[str, Any], command: str) -> bool:
    """Whether a message of the hub tells of ``command``, or has left something out that may have."""
    return bool(message.get("missed")) or any(event["data"]["id"] == command for event in message["events"])


def _is_over(state: CommandState, *, until_known: bool) -> bool:
    return state in FINAL or (state is CommandState.UNKNOWN and not until_known)
