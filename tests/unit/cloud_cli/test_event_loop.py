"""A process that serves and does nothing else runs in another event loop than those that read the log."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from cloud_ingest.config import Role
from cloud_ingest.main import run_program


@pytest.mark.parametrize(("roles", "is_uvloop"), [(("gateway",), True), (("historian", "gateway"), False)])
def test_only_a_process_that_serves_alone_runs_in_uvloop(roles: tuple[Role, ...], is_uvloop: bool) -> None:
    found: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        found.append(asyncio.get_running_loop())

    run_program(work(), roles)
    assert isinstance(found[0], uvloop.Loop) is is_uvloop
