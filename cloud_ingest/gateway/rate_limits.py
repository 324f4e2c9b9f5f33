"""How much of one asker is taken: a sliding window of a minute, counted in this process."""

from __future__ import annotations

import functools
import ipaddress
import time
from typing import Final

from cloud_ingest.access.admission import RateNote
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.sliding_windows import WINDOW_S, SlidingWindows
from cloud_ingest.observability.gateway_events import RequestLimited, RequestOverLimit
from cloud_ingest.settings.gateway import RateLimits
from connectors.observability.events import emit

ASKERS_MAX: Final = 100_000
"""So many askers are counted at a time; when there are more, those who have asked last."""
NETWORK_BITS: Final = 64
"""Of an IPv6 address: what follows, one machine chooses for itself as often as it likes (RFC 8981)."""


class RateLimiter:
    """Counts by principal and by address. Requests that are refused are not counted: who waits is taken again."""

    def __init__(self, settings: RateLimits) -> None:
        self._windows = SlidingWindows(ASKERS_MAX)
        self._of_principal = settings.per_principal
        self._of_address = settings.per_address
        self._told: dict[tuple[str, str], float] = {}

    def take(self, principal: Principal, notes: list[RateNote]) -> None:
        """See ``Rates``."""
        who = f"{principal.tenant_id}:{principal.subject}"
        self._take("principal", self._of_principal, who, principal.name, notes)

    def take_address(self, address: str, notes: list[RateNote]) -> None:
        """Count a request from ``address``. Raises ``RequestRefused`` when it is one too many."""
        who = network(address)
        self._take("address", self._of_address, who, who, notes)

    def _take(self, kind: str, most: int | None, who: str, name: str, notes: list[RateNote]) -> None:
        if most is None:
            return
        taken = self._windows.take((kind, who), most, time.monotonic())
        notes.append(RateNote(kind, most, WINDOW_S, taken.remaining, taken.reset_s))
        if not taken.is_taken:
            self._tell(kind, name)
            raise RequestRefused(
                Why.TOO_MANY,
                "rate_limited",
                f"{name!r} has asked more than {most} times within a minute ('gateway.rate_limits' of the "
                "configuration): ask less often, or for more at a time",
                taken.reset_s,
            )

    def _tell(self, kind: str, who: str) -> None:
        emit(RequestOverLimit(kind))
        now_s = time.monotonic()
        if now_s >= self._told.get((kind, who), 0.0):
            self._told = {key: until_s for key, until_s in self._told.items() if until_s > now_s}
            self._told[kind, who] = now_s + WINDOW_S
            emit(RequestLimited(kind, who))


@functools.lru_cache(maxsize=1000)
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
