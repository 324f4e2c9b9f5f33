"""Certificates that end soon: looked for from time to time, told once a day, and shown by ``status``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.observability.events import emit
from connectors.ports.clock import Clock
from edge_agent.observability.device_events import CertificateEnding

if TYPE_CHECKING:
    from connectors.trust.expiry import CertificateEnd

LOOK_S: Final = 600.0
TOLD_AGAIN_S: Final = 86_400.0
SOON_DAYS: Final = 60
"""Long enough to get a new certificate onto each server in the next planned stop."""


@dataclass(frozen=True, slots=True)
class CertificatePlaces:
    """Where the certificates of an agent are. ``files``: what each named one is for."""

    folder: Path | None = None
    endpoints: tuple[str, ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)


class CertificateWatch:
    """Knows the certificates of the places that it was told last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: Sequence[CertificateEnd] = ()
        self._places: CertificatePlaces | None = None
        self._looked_s = 0.0
        self._told_s: dict[str, float] = {}

    async def look(self, places: CertificatePlaces) -> None:
        """Look at the files again where it is time, or the places are others, and tell of those that end soon."""
        now_s = self._clock.monotonic_s()
        if places is self._places and now_s - self._looked_s < LOOK_S:
            return
        self._places, self._looked_s = places, now_s
        folder = places.folder
        if folder is None or not (places.files or folder.is_dir()):
            self._ends = ()
        else:
            self._ends = await asyncio.to_thread(_ends, folder, places)
        wall_s = self._clock.now_ns() / 1e9
        soon = [end for end in self._ends if end.days_left(wall_s) < SOON_DAYS]
        self._told_s = {end.thumbprint: self._told_s[end.thumbprint] for end in soon if end.thumbprint in self._told_s}
        for end in soon:
            before_s = self._told_s.get(end.thumbprint)
            if before_s is None or now_s - before_s >= TOLD_AGAIN_S:
                self._told_s[end.thumbprint] = now_s
                emit(CertificateEnding(end.what, end.thumbprint, end.days_left(wall_s), end.sentence(wall_s)))

    def to_json(self) -> list[dict[str, Any]]:
        """As ``status`` says it, soonest first; ``problem`` is empty while there is time."""
        now_s = self._clock.now_ns() / 1e9
        return [
            {
                "whose": end.whose,
                "what": end.what,
                "thumbprint": end.thumbprint,
                "not_after_s": end.not_after_s,
                "days_left": end.days_left(now_s),
                "problem": end.sentence(now_s) if end.days_left(now_s) < SOON_DAYS else "",
            }
            for end in self._ends
        ]


def _ends(folder: Path, places: CertificatePlaces) -> Sequence[CertificateEnd]:
    from connectors.trust.expiry import certificate_ends  # some MB, which an agent without certificates does not need

    return certificate_ends(folder, places.endpoints, places.files)
