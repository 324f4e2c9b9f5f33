"""The whole API, asked whatever its own document allows and forbids: nothing of it is answered by a defect.

``make fuzz-api`` asks thirty times as much, and something new each time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from cloud_ingest.access.permissions import Role
from cloud_ingest.gateway.server import serve
from tests.contract.whole_gateway import THERE, code_of, headers_of, there_is, whole_gateway
from tests.exploration import histories
from tests.patience import WAIT_S_MAX

REQUESTS: Final = 1000
"""In ``make test``, of all routes together: half a minute or so."""
LEAST: Final = 4
NOT_SET_UP: Final = frozenset({"no_signing_key", "try_again", "not_set_up"})
"""Codes of what is answered by 503 and is no defect."""
_CHECKS: Final[list[CheckFunction]] = [response_schema_conformance, content_type_conformance]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on a quiet machine
def test_nothing_that_is_asked_of_the_api_is_answered_by_a_defect(database_dsn: str) -> None:
    with served(database_dsn) as (url, app):
        schema = schemathesis.openapi.from_dict(app.openapi())
        schema.config.update(base_url=url)
        operations = [found.ok() for found in schema.get_all_operations()]
        count = max(LEAST, histories(REQUESTS) // len(operations))
        failures: list[str] = []
        for operation in operations:
            try:
                ask(app, operation, url, count)
            except* AssertionError as group:
                failures += [str(error) for error in group.exceptions]
        assert failures == []


def ask(app: FastAPI, operation: Any, url: str, count: int) -> None:
    """Ask one route ``count`` times. Raises ``AssertionError`` with the request that is answered wrongly."""
    allowed = operation.as_strategy(GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(GenerationMode.NEGATIVE) if has_bounds(operation) else allowed

    @settings(
        max_examples=count,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(asked=st.one_of(allowed, forbidden), is_known=st.booleans(), key=st.uuids())
    def asked(asked: Case, is_known: bool, key: Any) -> None:
        if is_known:
            name_what_is_there(app, operation.path, asked)
        own = {name: value for name, value in (asked.headers or {}).items() if name.lower() != "authorization"}
        asked.headers = CaseInsensitiveDict({**headers_of(Role.ADMIN, str(key)), **own})
        answer = asked.call(base_url=url, timeout=WAIT_S_MAX)
        says = f"{asked.as_curl_command()}\n{answer.status_code}: {answer.text[:2000]}"
        assert answer.status_code < 500 or code_of(answer) in NOT_SET_UP, says
        assert answer.status_code < 400 or "application/problem+json" in answer.headers["content-type"], says
        asked.validate_response(answer, checks=_CHECKS)

    asked()


def name_what_is_there(app: FastAPI, path: str, asked: Case) -> None:
    """Have ``asked`` be about something that was made."""
    for name in asked.path_parameters or {}:
        if (known := there_is(app, path, name)) is not None:
            asked.path_parameters[name] = known
    for name in set(asked.query or {}) & set(THERE):
        asked.query[name] = THERE[name]


def has_bounds(operation: Any) -> bool:
    """Whether there is anything that it forbids."""
    return bool(operation.path_parameters or operation.query or operation.headers or operation.body)


@contextmanager
def served(dsn: str) -> Iterator[tuple[str, FastAPI]]:
    """The whole API on a port of this machine, by a thread of its own, until the end."""
    ready, over = threading.Event(), threading.Event()
    found: list[tuple[str, FastAPI]] = []

    async def run() -> None:
        async with whole_gateway(dsn) as app:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                serving = asyncio.create_task(serve(listening, app), name="served")
                found.append((f"http://127.0.0.1:{listening.getsockname()[1]}", app))
                ready.set()
                await asyncio.to_thread(over.wait)
                serving.cancel()
                await asyncio.wait([serving])

    def run_and_tell() -> None:
        try:
            asyncio.run(run())
        finally:
            ready.set()

    thread = threading.Thread(target=run_and_tell, name="gateway")
    thread.start()
    try:
        assert ready.wait(WAIT_S_MAX)
        assert found, "the gateway did not start: see its traceback above"
        yield found[0]
    finally:
        over.set()
        thread.join(WAIT_S_MAX)
