"""What somebody is told who follows a sample that does not come."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.cli.following import FollowedSamples, about_lines

ABOUT: dict[str, Any] = {
    "device": "press", "tag": "speed", "type": "", "unit": "", "alias": -1, "lane": "samples", "derived": False,
    "at": "holding 1", "endpoint": "tcp://x", "driver": "modbus", "rule": "every value is reported", "online": False,
    "reason": "nothing listens there", "problem": "",
}  # fmt: skip


def test_a_tag_that_no_device_has_had_yet_has_no_alias() -> None:
    assert about_lines(ABOUT)[1] == "  type not known yet, lane samples; every value is reported"
    assert (
        about_lines({**ABOUT, "alias": 7})[1] == "  type not known yet, alias 7, lane samples; every value is reported"
    )


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({}, "no sample came, as press is away"),
        ({"online": True, "problem": "the server has no such node"}, "no sample came, as the tag has a problem"),
        ({"online": True, "problem": "another type", "in_doubt": True}, "no sample came; does the value change?"),
        ({"online": True}, "no sample came; does the value change? 'edge-agent read' asks the device now"),
    ],
)
def test_where_no_sample_comes_it_says_what_is_known_of_that(about: dict[str, Any], why: str) -> None:
    followed = FollowedSamples(1)
    assert followed.takes({**ABOUT, **about})
    assert followed.missing().startswith(why)
