"""A client of ``/api/v1/live`` that takes messages, or does not, as a test says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal

VIEWER: Final = Principal(1, "user:v", "v", "user", (Grant(Role.VIEWER),))


@dataclass
class PlayedOutlet:
    takes: bool = True
    written: list[Any] = field(default_factory=list)

    def limit(self) -> None: ...

    def is_ready(self) -> bool:
        return self.takes

    def write(self, text: bytes) -> None:
        assert self.takes
        self.written.append(json.loads(text))

    def abort(self) -> None: ...

    def values(self) -> list[tuple[int, Any]]:
        return [(tag["id"], tag["value"]) for message in self.written for tag in message["tags"]]
