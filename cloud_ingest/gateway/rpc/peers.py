"""Where a call comes from, as the connection or a proxy that is believed says."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import unquote

HOPS_MAX: Final = 50


def address_of_call(peer: str, forwarded_for: str, proxies: Collection[str]) -> str:
    """The address of the one who asks; empty where nobody says it.

    ``peer`` is gRPC's name of the other end of the connection: ``ipv4:10.0.0.5:4711``, ``ipv6:%5B::1%5D:4711``.
    Where it is one of ``proxies``, the last address in X-Forwarded-For that is none of them is believed.
    """
    address = _address(peer)
    if address in proxies:
        hops = [hop.strip() for hop in forwarded_for.split(",")[-HOPS_MAX:]]
        return next((hop for hop in reversed(hops) if hop and hop not in proxies), address)
    return address


def _address(peer: str) -> str:
    kind, _, place = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return place.rpartition(":")[0].removeprefix("[").removesuffix("]")
