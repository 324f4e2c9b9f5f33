"""Who follows a tag misses nothing that happens from the first answer on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from connectors.model.tags import DeviceName
from edge_agent.buffer.tracing import Tracing
from edge_agent.local_api.following import Following


class Followed(Following):
    """``trace`` on a press that has one tag, of which there is nothing to say."""

    def __init__(self, tracing: Tracing) -> None:
        press = SimpleNamespace(name="press", tag_names=["force"], alias_of=lambda _index: None)
        super().__init__(
            cast(Any, {DeviceName("press"): press}),
            cast(Any, None),
            cast(Any, SimpleNamespace(tracing=tracing)),
            cast(Any, None),
        )

    def _about(self, device: Any, index: int) -> dict[str, Any]:
        return {"device": device.name, "tag": device.tag_names[index]}


async def test_a_tag_is_followed_when_the_caller_reads_that_it_is_and_no_longer_than_the_caller_stays() -> None:
    tracing = Tracing()
    answers = cast(Any, Followed(tracing).trace({"device": "press", "tag": "force"}))
    assert await anext(answers) == {"device": "press", "tag": "force"}
    assert tracing.is_on
    await answers.aclose()
    assert not tracing.is_on
