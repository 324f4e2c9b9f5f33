"""``cloud-ingest orders``: customers' orders, straight from the database.

Exit codes: 0 done; 1 the order is stuck, or there is none; 2 the command was used wrongly; 3 the database cannot be
reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask_of,
    print_json,
    show,
)
from cloud_ingest.orders.rules import State

if TYPE_CHECKING:
    from connectors.ports.database import Database

app = typer.Typer(help="Customers' orders: list, show.", no_args_is_help=True)


@app.command("list")
def list_orders(
    config: ConfigOption = DEFAULT_CONFIG,
    customer: Annotated[str | None, typer.Option("--customer", help="Only this customer's")] = None,
    state: Annotated[State | None, typer.Option("--state", help="Only those in this state")] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only those that wait for somebody to do something")] = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="At most so many")] = 50,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """List orders and quotes, the newest first; of those that are stuck, why and what to do."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.cli.order_screens import orders_screen
    from cloud_ingest.orders.questions import OrderChoice, orders

    choice = OrderChoice(customer, None if state is None else state.value, stuck, "", count)

    async def question(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            return await orders(session, of, choice)

    rows = ask_of(config, tenant, question)
    if as_json:
        print_json(rows)
    else:
        show(orders_screen(rows))


@app.command("show")
def show_order(
    order: Annotated[str, typer.Argument(help="Id of the order, as 'orders list' shows it")],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show an order: its lines, work orders, money, parcels, and what has happened. Exit code 1 when it is stuck."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.cli.order_screens import order_screen
    from cloud_ingest.orders import questions

    async def question(database: Database, of: int) -> dict[str, Any]:
        async with tenant_transaction(database, of) as session:
            found = await questions.order(session, of, order)
            return {**found, "history": await questions.history(session, order)}

    found = ask_of(config, tenant, question)
    if as_json:
        print_json(found)
    else:
        show(order_screen(found))
    if found["problem"] is not None:
        raise typer.Exit(EXIT_PROBLEM)
