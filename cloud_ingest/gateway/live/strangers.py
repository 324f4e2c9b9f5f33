"""Connections that have not said who they are yet: so many of one address, and no more of all.

They cost little, but somebody without a token can hold each for as long as the first message may take.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

PER_ADDRESS_MAX: Final = 100
"""Of a site behind one address that connects anew all at once, as many can be on the way at the same moment."""
IN_ALL_MAX: Final = 1000


class Strangers:
    """Counts them. An address is whatever its caller counts as one asker."""

    def __init__(self) -> None:
        self._by_address: Counter[str] = Counter()

    def come(self, address: str) -> bool:
        """One more, if it may; then ``go`` is called for it once."""
        if self._by_address[address] >= PER_ADDRESS_MAX or self._by_address.total() >= IN_ALL_MAX:
            self._drop_if_none(address)
            return False
        self._by_address[address] += 1
        return True

    def go(self, address: str) -> None:
        """It has said who it is, or has gone."""
        self._by_address[address] -= 1
        self._drop_if_none(address)

    def _drop_if_none(self, address: str) -> None:
        if self._by_address[address] <= 0:
            del self._by_address[address]
