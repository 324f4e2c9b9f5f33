"""``cloud-ingest work-orders``: what is made on the lines, and what people do with it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask_of,
    fail,
    print_json,
    show,
    user,
)
from cloud_ingest.lines.work_order_rules import Deed, WorkOrderState

if TYPE_CHECKING:
    from cloud_ingest.lines.work_order_book import Act
    from connectors.ports.database import Database

app = typer.Typer(help="Work orders on lines: list, show, plan, start and so on.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(help="Id of the work order, as 'work-orders list' shows it")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; needed to complete what is short")]
LIST_MAX = 10_000
_HELP = {
    Deed.RELEASE: "Let it be made as soon as its line is free.",
    Deed.HOLD: "Take the release back: it is planned again.",
    Deed.START: "Start the one that is next; its recipe is written to the machines first.",
    Deed.RESUME: "Start one again that was paused.",
    Deed.ABORT: "Not start it after all, while its recipe is on the way.",
    Deed.PAUSE: "Pause it: the line can make another one meanwhile.",
    Deed.COMPLETE: "Make no more of it.",
    Deed.REOPEN: "It was not complete after all: it is paused.",
    Deed.CLOSE: "Say that its numbers are right.",
    Deed.CANCEL: "Cancel it, with the steps behind it.",
}


@app.command("list")
def list_work_orders(
    config: ConfigOption = DEFAULT_CONFIG,
    line: Annotated[str, typer.Option("--line", "-l", help="Only this line, as site/line")] = "",
    state: Annotated[list[WorkOrderState] | None, typer.Option("--state", help="Only these; may be repeated")] = None,
    order: Annotated[str | None, typer.Option("--order", help="Only those of a customer's order")] = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """List work orders, the oldest first."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.cli.work_order_screens import work_orders_screen
    from cloud_ingest.lines.work_order_questions import WorkOrderChoice, work_orders
    from connectors.ports.clock import SystemClock

    site, _, name = line.partition("/")
    states = tuple(one.value for one in state or ())
    choice = WorkOrderChoice(site or None, name or None, states, None, order, "", LIST_MAX)

    async def question(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            return await work_orders(session, of, choice, None, SystemClock().now_ns())

    rows = ask_of(config, tenant, question)
    if as_json:
        print_json(rows)
    else:
        show(work_orders_screen(rows))


@app.command("show")
def show_work_order(
    work_order: IdArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show a work order with its history, and where its recipe stands. Exit code 1 when it could not start."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.cli.work_order_screens import work_order_screen
    from cloud_ingest.lines.work_order_questions import work_order as one
    from connectors.ports.clock import SystemClock

    async def question(database: Database, of: int) -> dict[str, Any]:
        async with tenant_transaction(database, of) as session:
            return await one(session, of, work_order, SystemClock().now_ns())

    found = ask_of(config, tenant, question)
    if as_json:
        print_json(found)
    else:
        show(work_order_screen(found))
    if found["download"] == "failed":
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def plan(
    product: Annotated[str, typer.Argument(help="Code of a product that the catalog has with a routing")],
    quantity: Annotated[str, typer.Argument(help="How many, such as 250 or 12.5")],
    config: ConfigOption = DEFAULT_CONFIG,
    hold: Annotated[bool, typer.Option("--hold", help="Do not release them yet")] = False,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Have a product made: a work order for each step of its routing, behind what is planned already."""
    from cloud_ingest.catalog.published import product as published
    from cloud_ingest.event_log.announcing import unit_of_work
    from cloud_ingest.lines.work_order_planning import plan as plan_of
    from cloud_ingest.lines.work_order_terms import NewWorkOrder, PlannedWorkOrders

    async def do(database: Database, of: int) -> PlannedWorkOrders:
        async with unit_of_work(database, of) as work:
            found = await published(work.session, of, product)
            if found is None:
                fail(f"there is no product {product} in the catalog, or it is not published", EXIT_PROBLEM)
            new = NewWorkOrder(found.code, _quantity(quantity), found.routing, user(), released=not hold)
            return await plan_of(work, _act(of, ""), new)

    made = ask_of(config, tenant, do)
    if as_json:
        print_json({"work_orders": made.work_orders, "begin": made.begin, "end": made.end})
    else:
        typer.echo(f"planned {', '.join(made.work_orders)}; done at {made.end:%Y-%m-%d %H:%M} UTC")


@app.command()
def changeover(
    line: Annotated[str, typer.Argument(help="As site/line")],
    config: ConfigOption = DEFAULT_CONFIG,
    pause: Annotated[bool, typer.Option("--pause", help="Pause what runs, instead of completing it")] = False,
    reason: ReasonOption = "",
    tenant: TenantOption = "default",
) -> None:
    """Complete what runs on a line, and start what is next: both, or neither."""
    from cloud_ingest.event_log.announcing import unit_of_work
    from cloud_ingest.lines.work_order_deeds import change_over

    site, _, name = line.partition("/")

    async def do(database: Database, of: int) -> Any:
        async with unit_of_work(database, of) as work:
            then = Deed.PAUSE if pause else Deed.COMPLETE
            return await change_over(work, _act(of, reason), (site, name), then)

    _say(ask_of(config, tenant, do))


def _add(deed: Deed) -> None:
    @app.command(deed.value, help=_HELP[deed])
    def command(
        work_order: IdArgument,
        config: ConfigOption = DEFAULT_CONFIG,
        reason: ReasonOption = "",
        tenant: TenantOption = "default",
    ) -> None:
        _say(ask_of(config, tenant, _doing(work_order, deed, reason)))


def _doing(work_order: str, deed: Deed, reason: str) -> Callable[[Database, int], Coroutine[Any, Any, Any]]:
    from cloud_ingest.event_log.announcing import unit_of_work
    from cloud_ingest.lines.work_order_deeds import do

    async def done(database: Database, of: int) -> Any:
        async with unit_of_work(database, of) as work:
            return await do(work, _act(of, reason), work_order, deed)

    return done


for _deed in Deed:
    _add(_deed)


def _act(tenant: int, reason: str) -> Act:
    from cloud_ingest.lines.work_order_book import Act
    from connectors.ports.clock import SystemClock

    return Act(tenant, SystemClock().now_ns(), user(), reason)


def _say(row: Any) -> None:
    starts = "; its recipe is on the way to the machines" if row["download"] == "under_way" else ""
    typer.echo(f"work order {row['work_order_id']} on {row['site']}/{row['line']} is {row['state']}{starts}")


def _quantity(text: str) -> Decimal:
    try:
        quantity = Decimal(text)
    except InvalidOperation as exc:
        raise typer.BadParameter(f"{text!r} is no quantity; write it as 250 or 12.5") from exc
    if not quantity.is_finite() or quantity <= 0:
        raise typer.BadParameter(f"{text!r} is no quantity above 0")
    return quantity
