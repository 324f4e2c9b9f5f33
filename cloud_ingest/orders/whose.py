"""Whose orders somebody sees."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from connectors.commands.envelope import ULID_PATTERN

OrderId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the order")]


def whose(principal: Principal) -> str | None:
    """The customer whose orders alone ``principal`` sees; ``None`` for everybody's.

    Who has shown no token sees no order, also where all else may be read: it says who buys what, and where they live.
    Raises ``RequestRefused``.
    """
    if principal.kind == "nobody":
        why = "orders and customers are shown to who says who they are: send a token (Authorization: Bearer …)"
        raise RequestRefused(Why.NO_TOKEN, "no_token", why)
    return principal.customer
