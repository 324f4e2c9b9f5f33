"""What a device file may say of an OPC UA server, where one setting bears on another."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.opcua.settings import OpcUaDevice


def device(*tags: dict[str, Any], **more: Any) -> OpcUaDevice:
    numbered = [{"name": f"t{number}", "at": "ns=2;i=1"} | tag for number, tag in enumerate(tags)]
    entry = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://press", "insecure": True, "tags": numbered}
    return OpcUaDevice.model_validate(entry | more)


def test_of_polled_tags_changes_are_reported_and_of_others_all_that_comes() -> None:
    rules = device({"poll": "1s"}, {}, {"poll": "1s", "deadband": 0.5}).report_rules()
    assert [rule.always for rule in rules.values()] == [False, True, False]


def test_a_change_of_a_polled_tag_may_take_an_interval_until_it_is_seen() -> None:
    assert device({}, {"poll": "10s"}).lag_s_max == 10.0
    assert device({"sampling": "2s"}, {"poll": "1s"}).lag_s_max == pytest.approx(2.1)


@pytest.mark.parametrize("setting", [{"sampling": "1s"}, {"queue_size": 5}])
def test_what_only_subscriptions_have_is_refused_of_a_polled_tag(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it does nothing to a tag that is polled"):
        device({"poll": "1s"} | setting)
