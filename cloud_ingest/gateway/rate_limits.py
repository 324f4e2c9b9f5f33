"""How much of one asker is taken, by the library limits: a sliding window of a minute, counted in this process."""

from __future__ import annotations

import ipaddress
import math
import time
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from cloud_ingest.access.admission import RateNote
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.observability.gateway_events import RequestLimited, RequestOverLimit
from cloud_ingest.settings.gateway import RateLimits
from connectors.observability.events import emit

WINDOW_S: Final = 60
ASKERS_MAX: Final = 100_000
"""So many askers are counted at a time; when there are more, all are counted anew."""
NETWORK_BITS: Final = 64
"""Of an IPv6 address: what follows, one machine chooses for itself as often as it likes (RFC 8981)."""


class RateLimiter:
    """Counts by principal and by address. Requests that are refused are not counted: who waits is taken again."""

    def __init__(self, settings: RateLimits) -> None:
        self._storage = MemoryStorage()
        self._strategy = SlidingWindowCounterRateLimiter(self._storage)
        self._of_principal = _item(settings.per_principal)
        self._of_address = _item(settings.per_address)
        self._told: dict[tuple[str, str], float] = {}

    def take(self, principal: Principal, notes: list[RateNote]) -> None:
        """See ``Rates``."""
        who = f"{principal.tenant_id}:{principal.subject}"
        self._take("principal", self._of_principal, who, principal.name, notes)

    def take_address(self, address: str, notes: list[RateNote]) -> None:
        """Count a request from ``address``. Raises ``RequestRefused`` when it is one too many."""
        who = network(address)
        self._take("address", self._of_address, who, who, notes)

    def _take(self, kind: str, item: RateLimitItem | None, who: str, name: str, notes: list[RateNote]) -> None:
        if item is None:
            return
        if len(self._storage.storage) > ASKERS_MAX:
            self._storage.reset()
        taken = self._strategy.hit(item, kind, who)
        stands = self._strategy.get_window_stats(item, kind, who)
        reset_s = max(1, math.ceil(stands.reset_time - time.time()))
        notes.append(RateNote(kind, item.amount, WINDOW_S, stands.remaining if taken else 0, reset_s))
        if not taken:
            self._tell(kind, name)
            raise RequestRefused(
                Why.TOO_MANY,
                "rate_limited",
                f"{name!r} has asked more than {item.amount} times within a minute ('gateway.rate_limits' of the "
                "configuration): ask less often, or for more at a time",
                reset_s,
            )

    def _tell(self, kind: str, who: str) -> None:
        emit(RequestOverLimit(kind))
        now_s = time.monotonic()
        if now_s >= self._told.get((kind, who), 0.0):
            self._told = {key: until_s for key, until_s in self._told.items() if until_s > now_s}
            self._told[kind, who] = now_s + WINDOW_S
            emit(RequestLimited(kind, who))


def network(address: str) -> str:
    """Who counts as one asker: an IPv4 address, or the network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, NETWORK_BITS), strict=False))


def _item(per_minute: int | None) -> RateLimitItem | None:
    return None if per_minute is None else RateLimitItemPerMinute(per_minute)
