"""One HTTP device: a document a poll, which becomes one batch for each type of its tags."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.late_polls import late_after_s
from connectors.model.quality import BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, GOOD
from connectors.model.samples import batch_of_rows
from connectors.model.tags import TagName, TagType
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, TagProblem, Value
from lineside_http.settings import HttpDevice, HttpTag

NOTHING = object()
PYTHON_TYPES: Mapping[DataType, tuple[type, ...]] = {
    DataType.DOUBLE: (int, float),
    DataType.INT64: (int,),
    DataType.BOOLEAN: (bool,),
    DataType.STRING: (str,),
}


class HttpDriver:
    """See ``DeviceDriver``."""

    def __init__(self, settings: HttpDevice, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._counts = {"requests": 0, "failed_requests": 0}

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``: a change waits for the next poll, and that takes its time."""
        return self._settings.poll_s + self._settings.timeout_s

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``."""
        return self._counts

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        settings = self._settings
        try:
            async with httpx.AsyncClient(timeout=settings.timeout_s, trust_env=False) as self._client:
                said: list[TagProblem] | None = None
                last_s, last_ns = self._clock.monotonic_s(), self._clock.now_ns()
                while True:
                    begun_s = self._clock.monotonic_s()
                    document, time_ns = await self._document()
                    values, problems = self._values(document)
                    if problems != said:  # also the first time
                        said = problems
                        await acquisition.online(self._types(values), problems)
                    if begun_s - last_s > late_after_s(settings.poll_s):
                        detail = f"polled after {begun_s - last_s:.1f} s instead of {settings.poll_s:g} s"
                        acquisition.polled_late(np.array(list(values), np.int32), last_ns, time_ns, detail)
                    await self._hand_over(acquisition, values, time_ns)
                    last_s, last_ns = begun_s, time_ns
                    await asyncio.sleep(max(0.0, begun_s + settings.poll_s - self._clock.monotonic_s()))
        finally:
            self._client = None

    async def write(self, tag: int, value: Value) -> None:
        """See ``DeviceDriver``."""
        raise ValueError(f"{self._settings.tags[tag].name} cannot be written: an HTTP device is read only")

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``."""
        raise ValueError(f"an HTTP device has no methods, and none called {method!r}")

    async def read(self, tag: int) -> Reading:
        """See ``DeviceDriver``."""
        document, time_ns = await self._document()
        values, problems = self._values(document)
        if tag in values:
            return Reading(values[tag], GOOD, time_ns)
        quality = next(problem.quality for problem in problems if problem.tag == self._settings.tags[tag].name)
        return Reading(None, quality, time_ns)

    # ------------------------------------------------------------------------------------------------------------------

    async def _document(self) -> tuple[Any, int]:
        """What the device has now, and when that was. Raises ``DeviceUnavailable``."""
        name, endpoint = self._settings.name, self._settings.endpoint
        if self._client is None:
            raise DeviceUnavailable(f"{name}: not connected")
        self._counts["requests"] += 1
        try:
            answer = await self._client.get(endpoint)
            answer.raise_for_status()
            return answer.json(), self._clock.now_ns()
        except httpx.HTTPStatusError as exc:
            reason = f"{endpoint} answers {exc.response.status_code} {exc.response.reason_phrase}"
        except httpx.TimeoutException:
            reason = f"{endpoint} does not answer within {self._settings.timeout_s:g} s"
        except httpx.HTTPError as exc:
            reason = f"{endpoint} cannot be reached: {exc or type(exc).__name__}"
        except ValueError as exc:
            reason = f"{endpoint} gives no JSON: {exc}"
        self._counts["failed_requests"] += 1
        raise DeviceUnavailable(f"{name}: {reason}")

    def _values(self, document: Any) -> tuple[dict[int, Value], list[TagProblem]]:
        """The values by tag, and why others have none."""
        values: dict[int, Value] = {}
        problems: list[TagProblem] = []
        for index, tag in enumerate(self._settings.tags):
            raw, name = _at(document, tag.at), TagName(tag.name)
            if raw is NOTHING or raw is None:
                problems.append(TagProblem(name, f"there is no {tag.at} in the document", BAD_NODE_ID_UNKNOWN))
            elif not isinstance(raw, PYTHON_TYPES[tag.datatype]) or (
                isinstance(raw, bool) and tag.datatype is not DataType.BOOLEAN
            ):
                said = f"{tag.at} is {type(raw).__name__}, and no {tag.datatype.label}"
                problems.append(TagProblem(name, said, BAD_TYPE_MISMATCH))
            else:
                values[index] = _scaled(tag, raw)
        return values, problems

    def _types(self, values: Mapping[int, Value]) -> list[TagType]:
        tags = self._settings.tags
        return [
            TagType(
                index, TagName(tags[index].name), tags[index].reported_datatype(tags[index].datatype), tags[index].unit
            )
            for index in values
        ]

    async def _hand_over(self, acquisition: Acquisition, values: Mapping[int, Value], time_ns: int) -> None:
        rows: dict[DataType, list[tuple[int, int, Any, int]]] = {}
        for index, value in values.items():
            tag = self._settings.tags[index]
            rows.setdefault(tag.reported_datatype(tag.datatype), []).append((index, time_ns, value, GOOD))
        for datatype, of_type in rows.items():
            await acquisition.put(batch_of_rows(datatype, of_type))


def _scaled(tag: HttpTag, raw: Any) -> Value:
    if tag.datatype is DataType.DOUBLE or (tag.is_scaled and tag.datatype is DataType.INT64):
        return float(raw) * tag.scale + tag.scaling_offset
    return raw  # type: ignore[no-any-return]


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer leads to; ``NOTHING`` where that is not there."""
    found = document
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return NOTHING
    return found
