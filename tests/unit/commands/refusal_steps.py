"""What a test of a refusal looks at, beside the device: what is told, journalled and audited."""

from __future__ import annotations

from typing import Any

from connectors.commands.envelope import Envelope
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState
from edge_agent.commands.audit_log import chain_problems, entries
from tests.unit.commands.played_line import Line


async def refused(line: Line, envelope: Envelope, **sent: Any) -> CommandReport:
    """Send a command that is to be refused; its last report. The device holds what it held."""
    line.send(envelope, **sent)
    report = await line.done(envelope.id)
    assert line.press.writes == []
    assert report.state in (CommandState.REFUSED, CommandState.EXPIRED, CommandState.UNKNOWN)
    assert report.code is not None
    command = line.journal.journal.command(envelope.id)
    assert command is not None, "it is in the journal"
    assert (command.state, command.code) == (report.state, report.code)
    audited = list(audit_details(line))
    assert any(details.get("id") == envelope.id and details.get("code") == report.code for details in audited)
    return report


def audit_details(line: Line) -> list[dict[str, Any]]:
    connection = line.journal.journal._opened()
    assert list(chain_problems(connection)) == []
    return [dict(entry.details) for entry in entries(connection)]
