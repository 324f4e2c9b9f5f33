"""Log lines: JSON for machines, aligned text for a terminal; the libraries' own lines go the same way."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, Literal

from connectors.observability.lean_structlog import structlog

_NOISY = ("asyncua", "pymodbus", "paho", "aiokafka")
_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logs(level: str, style: Literal["auto", "json", "console"]) -> None:
    """Send every log line to standard error, from ``level`` on (``debug``, ``info``, ``warning``, ``error``).

    ``auto``: as a person reads it where that is a terminal, else JSON.
    """
    if style == "auto":
        style = "console" if sys.stderr.isatty() else "json"
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, logging.WARNING))
    for name in _NOISY:  # what they call an error is, for us, an expected state that has an event of its own
        logging.getLogger(name).setLevel(logging.DEBUG if number <= logging.DEBUG else logging.CRITICAL)


@contextlib.contextmanager
def log_lines_with(**values: str) -> Iterator[None]:
    """Within it, every log line of this task and those that it starts has ``values``."""
    with structlog.contextvars.bound_contextvars(**values):
        yield
