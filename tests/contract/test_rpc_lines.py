"""Lines by gRPC: how they stand, and as it changes."""

from __future__ import annotations

from typing import Any

from cloud_ingest.access.permissions import Role
from connectors.lineside_api.v1.lines_pb2 import GetLineRequest, LineState, ListLinesRequest, StreamLinesRequest
from tests.contract.line_steps import T0, S, plant
from tests.contract.rpc_steps import by, first, principal, refused, served


async def test_a_line_is_told_as_it_stands_to_who_may_see_it(database_dsn: str) -> None:
    async with plant(database_dsn) as here, served(here.database) as one, one.program() as program:
        await here.take((0, "state", 1), (0, "good", 0), (0, "reject", 0))
        await here.take((10, "good", 7), (10, "reject", 2))
        line = await program.lines.GetLine(GetLineRequest(site="berlin", line="press-1"), **by("viewer"))
        assert (line.site, line.line, line.area) == ("berlin", "press-1", "hall")
        assert (line.state, line.since_ns) == (LineState.LINE_STATE_RUNNING, T0)
        assert (line.good, line.reject) == ("7", "2")
        assert line.last_sample_ns == T0 + 10 * S
        assert not line.HasField("work_order")
        page = await program.lines.ListLines(ListLinesRequest(limit=1), **by("viewer"))
        assert list(page.lines) == [line]
        assert not page.HasField("next")
        assert not (await program.lines.ListLines(ListLinesRequest(site="paris"), **by())).lines
        get = program.lines.GetLine
        assert await refused(get(GetLineRequest(site="berlin", line="x"), **by())) == ("NOT_FOUND", "no_such_line")
        for asked in (GetLineRequest(site="berlin", line="press-1"), GetLineRequest()):
            assert await refused(get(asked, **by("stranger"))) == ("NOT_FOUND", "no_such_line")
            assert await refused(get(asked, **by("elsewhere"))) == ("PERMISSION_DENIED", "not_your_role")
        for token in ("stranger", "elsewhere"):
            assert not (await program.lines.ListLines(ListLinesRequest(), **by(token))).lines


async def test_a_stream_of_lines_begins_with_how_they_stand_and_tells_what_changes(database_dsn: str) -> None:
    async with plant(database_dsn) as here, served(here.database) as one, one.program() as program:
        await here.take((0, "state", 1), (0, "good", 0))
        one.people.held["here"] = principal(Role.VIEWER, "here", site="berlin")
        streams = [
            program.lines.StreamLines(StreamLinesRequest(lines=[name], interval_ms=50), **by("here"))
            for name in ("*", "berlin/press-1")
        ]
        for stream in streams:
            assert [line.state for line in (await first(stream)).lines] == [LineState.LINE_STATE_RUNNING]
        elsewhere = program.lines.StreamLines(StreamLinesRequest(lines=["*"]), **by("elsewhere"))
        assert not (await first(elsewhere)).lines
        await here.take((20, "state", 3), (20, "good", 5))
        for stream in streams:
            line = await until(stream, LineState.LINE_STATE_FAULTED)
            assert (line.reason, line.good) == ("jam", "5")
        for asked, refusal in (
            (["berlin/none"], ("NOT_FOUND", "no_such_line")),
            (["paris/press-1"], ("PERMISSION_DENIED", "not_your_role")),
            ([], ("INVALID_ARGUMENT", "out_of_bounds")),
        ):
            call = program.lines.StreamLines(StreamLinesRequest(lines=asked), **by("here"))
            assert await refused(call) == refusal


async def until(stream: Any, state: int) -> Any:
    """The line when it has come into ``state``."""
    while True:
        for line in (await first(stream)).lines:
            if line.state == state:
                return line
