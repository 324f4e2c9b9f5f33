"""Pages that are made from the code: ``python -m docs.pages`` writes them anew, a test says when they are not current.

``reference/events.md``: every event and metric of both programs. ``reference/sparkplug-conformance.md``: every
statement of the Sparkplug specification. ``reference/cli.md``: the command ``edge-agent``.
``reference/permissions.md``: every route and gRPC method of the gateway, and which role may ask it. ``benchmarks.md``:
between its marks, the tables of ``benchmarks/results``.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from prometheus_client import CollectorRegistry

import cloud_ingest.observability.analytics_events as analytics_events
import cloud_ingest.observability.catalog_events as catalog_events
import cloud_ingest.observability.command_events as cloud_command_events
import cloud_ingest.observability.events as cloud_events
import cloud_ingest.observability.gateway_events as gateway_events
import cloud_ingest.observability.identity_events as identity_events
import cloud_ingest.observability.ingest_events as ingest_events
import cloud_ingest.observability.integration_events as integration_events
import cloud_ingest.observability.line_events as line_events
import cloud_ingest.observability.metrics as cloud_metrics
import cloud_ingest.observability.platform_events as platform_events
import cloud_ingest.observability.release_events as cloud_release_events
import edge_agent.observability.command_events as edge_command_events
import edge_agent.observability.metrics as edge_metrics
from cloud_ingest.orders.rules import diagram
from connectors.observability.events import Event, event_name
from docs import cli_page, conformance, permissions_page
from edge_agent.observability import (
    agent_events,
    config_events,
    device_events,
    outbox_events,
    release_events,
    uplink_events,
)

DOCS: Final = Path(__file__).parent
RESULTS: Final = DOCS.parent / "benchmarks" / "results"
EVENTS_PAGE: Final = DOCS / "reference" / "events.md"
CONFORMANCE_PAGE: Final = DOCS / "reference" / "sparkplug-conformance.md"
BENCHMARKS_PAGE: Final = DOCS / "benchmarks.md"
ORDERS_PAGE: Final = DOCS / "reference" / "orders.md"
PROGRAMS: Final[tuple[tuple[str, tuple[ModuleType, ...], CollectorRegistry], ...]] = (
    (
        "edge-agent",
        (
            agent_events,
            config_events,
            device_events,
            outbox_events,
            uplink_events,
            edge_command_events,
            release_events,
        ),
        edge_metrics.REGISTRY,
    ),
    (
        "cloud-ingest",
        (
            cloud_events,
            ingest_events,
            cloud_command_events,
            cloud_release_events,
            platform_events,
            gateway_events,
            catalog_events,
            identity_events,
            integration_events,
            line_events,
            analytics_events,
        ),
        cloud_metrics.REGISTRY,
    ),
)
"""Each program with the modules of its events, and its metrics."""
_BEGIN, _END = "<!-- tables: made by docs/pages.py -->\n", "<!-- end of tables -->\n"
_DIAGRAM_BEGIN, _DIAGRAM_END = "<!-- diagram: made by docs/pages.py -->\n", "<!-- end of diagram -->\n"
_EVENTS_HEAD: Final = """\
# Events and metrics

Made from `edge_agent/observability` and `cloud_ingest/observability` by `make generated`.

Every event is one JSON line on standard output: `event` (the name below), `level`, `timestamp` (UTC, ISO 8601) and its
fields. Events without a level are only counted. Names are part of the product: alerts may rely on them.
"""


def events_page() -> str:
    """The reference of events and metrics, as Markdown."""
    parts = [_EVENTS_HEAD]
    for title, modules, registry in PROGRAMS:
        parts += [f"\n## {title}\n", "\n### Events\n", "\n| event | level | fields | when |\n|---|---|---|---|\n"]
        parts += [_event_row(event) for module in modules for event in events_of(module)]
        parts += ["\n### Metrics\n", "\n| metric | type | labels | meaning |\n|---|---|---|---|\n"]
        parts += metric_rows(registry)
    return "".join(parts)


def events_of(module: ModuleType) -> list[type[Event]]:
    """The events that ``module`` defines, in their order."""
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Event)]
    return [event for event in found if event is not Event]


def metric_rows(registry: CollectorRegistry) -> list[str]:
    """One row of Markdown a metric, sorted by name."""
    rows = []
    for collector, names in registry._collector_to_names.items():  # noqa: SLF001  there is no public way to the labels
        metric = next(iter(collector.describe() if hasattr(collector, "describe") else collector.collect()))
        labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
        name = next((name for name in names if name.endswith("_total")), metric.name)
        rows.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |\n")
    return sorted(rows)


def benchmark_tables() -> str:
    """The results of all benchmarks that were run, as Markdown."""
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"\n### {document['name']}\n\n{document['machine']}\n\n"]
        parts += ["| figure | value | unit | goal | holds |\n|---|---:|---|---:|---|\n"]
        parts += [_figure_row(figure) for figure in document["figures"]]
    return "".join(parts) + "\n"


def benchmarks_page(page: str) -> str:
    """``page`` with its tables made anew. Raises ``ValueError`` when it has no marks."""
    begin, end = page.index(_BEGIN) + len(_BEGIN), page.index(_END)
    return page[:begin] + benchmark_tables() + page[end:]


def orders_page(page: str) -> str:
    """``page`` with the diagram of an order's states drawn anew. Raises ``ValueError`` when it has no marks."""
    begin, end = page.index(_DIAGRAM_BEGIN) + len(_DIAGRAM_BEGIN), page.index(_DIAGRAM_END)
    return f"{page[:begin]}```mermaid\n{diagram()}```\n{page[end:]}"


def _event_row(event: type[Event]) -> str:
    names = ", ".join(f"`{field.name}`" for field in fields(event))
    words = " ".join((event.__doc__ or "").split()).replace("``", "`")
    return f"| `{event_name(event)}` | {event.level or '(counted only)'} | {names} | {words} |\n"


def _figure_row(figure: dict[str, Any]) -> str:
    def number(value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"

    holds = {None: "", True: "yes", False: "**no**"}[figure["holds"]]
    return f"| {figure['name']} | {number(figure['value'])} | {figure['unit']} | {number(figure['goal'])} | {holds} |\n"


def main() -> None:
    """Write the pages anew."""
    cli_page.CLI_PAGE.write_text(cli_page.page(), encoding="utf-8")
    EVENTS_PAGE.write_text(events_page(), encoding="utf-8")
    permissions_page.PERMISSIONS_PAGE.write_text(permissions_page.page(), encoding="utf-8")
    CONFORMANCE_PAGE.write_text(conformance.page(), encoding="utf-8")
    ORDERS_PAGE.write_text(orders_page(ORDERS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    BENCHMARKS_PAGE.write_text(benchmarks_page(BENCHMARKS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
