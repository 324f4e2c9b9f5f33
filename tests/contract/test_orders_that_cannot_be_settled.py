"""An order that brings out a defect keeps no other from what it waits for: on a real PostgreSQL."""

from __future__ import annotations

import pytest

from tests.contract.order_steps import Shop, shop

REFUSE = """
CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.order_id = TG_ARGV[0] THEN
        RAISE EXCEPTION 'this one cannot be stored' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$
"""


async def breaks(here: Shop, order: str, *, unreadable: bool) -> None:
    """From here on, this order cannot be read, or not be stored."""
    if unreadable:
        await here.stock.say("UPDATE customer_order SET address = '{' || address WHERE order_id = $1", order)
        return
    await here.stock.say(REFUSE)
    await here.stock.say(
        f"CREATE TRIGGER refuse_one BEFORE UPDATE ON order_line FOR EACH ROW EXECUTE FUNCTION refuse_one('{order}')"
    )


@pytest.mark.parametrize("unreadable", [True, False])
async def test_stock_that_comes_in_reaches_the_others(database_dsn: str, unreadable: bool) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", made=False)
        broken, other = await here.place(("pump", 1)), await here.place(("pump", 1))
        await here.pump()
        await breaks(here, broken, unreadable=unreadable)
        await here.stock.receive("pump", "2", "warehouse")
        await here.pump()
        await here.later(1)
        assert (await here.order(other))["lines"][0]["reserved"] == "1"
        await here.stock.say(
            "UPDATE customer_order SET address = replace(address, '{{', '{') WHERE order_id = $1", broken
        )
        await here.stock.say("DROP TRIGGER IF EXISTS refuse_one ON order_line")
        await here.later(120)
        assert (await here.order(broken))["lines"][0]["reserved"] == "1", "it gets its own when it is mended"


async def test_the_timer_goes_on_behind_an_order_that_cannot_be_stored(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=5)
        here.outside.pays = None
        broken, other = await here.place(("pump", 1)), await here.place(("pump", 1))
        await here.pump()
        await here.stock.say(REFUSE)
        await here.stock.say(
            "CREATE TRIGGER refuse_one BEFORE UPDATE ON order_request FOR EACH ROW "
            f"EXECUTE FUNCTION refuse_one('{broken}')"
        )
        asked = len(here.outside.asked)
        await here.later(61)
        assert [data["order"] for _, data in here.outside.asked[asked:]] == [other]
