"""How many streams there are, in all and of each asker: none takes the places of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cloud_ingest.access.refused import RequestRefused, Why


class StreamPlaces:
    """Bounded, and counted in this process."""

    def __init__(self, in_all_max: int, per_asker_max: int) -> None:
        self._in_all_max = in_all_max
        self._per_asker_max = per_asker_max
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, asker: str) -> Iterator[None]:
        """A place for the length of the block. Raises ``RequestRefused`` when there is none."""
        if self._taken[asker] >= self._per_asker_max:
            why = (
                f"you have {self._per_asker_max} streams open ('grpc.streams_per_principal' of the configuration): end "
                "one, or ask for more things on one stream"
            )
            raise RequestRefused(Why.TOO_MANY, "too_many_streams", why)
        if self._taken.total() >= self._in_all_max:
            why = f"{self._in_all_max} streams are open at this process: ask again later, or another process"
            raise RequestRefused(Why.TOO_MANY, "too_many_streams", why)
        self._taken[asker] += 1
        try:
            yield
        finally:
            self._taken[asker] -= 1
            if not self._taken[asker]:
                del self._taken[asker]
