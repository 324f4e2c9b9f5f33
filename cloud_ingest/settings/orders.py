"""What the section ``orders`` says: how long everything about an order may take."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from connectors.ports.settings import Duration, Settings

_DAY_S: Final = 86_400.0


class OrdersSettings(Settings):
    """Customers' orders."""

    quote_s: Annotated[
        Duration, Field(alias="quote", ge=60, le=365 * _DAY_S, description="How long a quote is valid, unless it says")
    ] = 14 * _DAY_S
    payment_s: Annotated[
        Duration, Field(alias="payment", ge=60, le=365 * _DAY_S, description="Not paid by then, it is cancelled")
    ] = 7 * _DAY_S
    retry_first_s: Annotated[
        Duration,
        Field(alias="retry_first", ge=1, le=_DAY_S, description="Unanswered so long, the outside is asked again"),
    ] = 60.0
    retry_longest_s: Annotated[
        Duration, Field(alias="retry_longest", ge=1, le=7 * _DAY_S, description="The longest wait between two attempts")
    ] = 3600.0
    attempts_max: Annotated[int, Field(ge=1, le=100, description="Then somebody has to look at it")] = 5
    close_s: Annotated[
        Duration, Field(alias="close", ge=60, le=365 * _DAY_S, description="Shipped so long ago, an order is closed")
    ] = 30 * _DAY_S
    return_s: Annotated[
        Duration, Field(alias="return", ge=0, le=3650 * _DAY_S, description="So long after it left, it may come back")
    ] = 60 * _DAY_S
    pack_at_once: Annotated[
        bool,
        Field(description="What is complete is packed as one parcel; else somebody packs ('shipments' of the API)"),
    ] = False
