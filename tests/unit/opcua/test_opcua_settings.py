"""What a device file may say of an OPC UA server, where one setting bears on another."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.modbus.settings import ModbusDevice
from connectors.opcua.settings import OpcUaDevice


def device(*tags: dict[str, Any], **more: Any) -> OpcUaDevice:
    numbered = [{"name": f"t{number}", "at": "ns=2;i=1"} | tag for number, tag in enumerate(tags)]
    entry = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://press", "insecure": True, "tags": numbered}
    return OpcUaDevice.model_validate(entry | more)


def test_of_polled_tags_changes_are_reported_and_of_others_all_that_comes() -> None:
    rules = device({"poll": "1s"}, {}, {"poll": "1s", "deadband": 0.5}).report_rules()
    assert [rule.always for rule in rules.values()] == [False, True, False]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"poll": "1s"}, "with 'poll' it keeps none"),
        ({"part": "[0]"}, "with 'part' it keeps none"),
        ({"deadband": "101% of range"}, "more than the whole range"),
        ({"deadband": "1 of range"}, "is not a deadband"),
    ],
)
def test_a_deadband_that_is_a_part_of_the_range_is_refused_where_the_server_cannot_keep_it(
    more: dict[str, Any], said: str
) -> None:
    assert device({"deadband": "1% of range"}).report_rules()[0].deadband_percent == 0, "the server keeps it"
    with pytest.raises(ValidationError, match=said):
        device({"deadband": "1% of range", **more})
    with pytest.raises(ValidationError, match="nobody says here which range"):
        ModbusDevice.model_validate(
            {"name": "d", "driver": "modbus", "endpoint": "tcp://plc",
             "tags": [{"name": "t", "at": "holding 7", "deadband": "1% of range"}]}
        )  # fmt: skip


def test_a_change_of_a_polled_tag_may_take_an_interval_until_it_is_seen() -> None:
    assert device({}, {"poll": "10s"}).lag_s_max == 10.0
    assert device({"sampling": "2s"}, {"poll": "1s"}).lag_s_max == pytest.approx(2.1)


@pytest.mark.parametrize("setting", [{"sampling": "1s"}, {"queue_size": 5}])
def test_what_only_subscriptions_have_is_refused_of_a_polled_tag(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it does nothing to a tag that is polled"):
        device({"poll": "1s"} | setting)


def test_a_device_may_name_no_tag_and_find_all_of_them() -> None:
    found = device(browse=[{"under": "/Objects/2:Press", "max": 7}, {"under": "ns=2;i=5", "max": 5}])
    assert (found.tags, found.tags_max) == ((), 12)
    with pytest.raises(ValueError, match="there is nothing to read"):
        device()


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"under": "Press"}, "'Press'"),
        ({"match": "Ram//Force"}, "'Ram//Force' has an empty name in it"),
        ({"exclude": ["[z-a]"]}, "'\\[z-a\\]' is not a pattern"),
        ({"name": "{tag}"}, "there is nothing to put in for {tag}; known are {path}, {name}, {id}"),
        ({"name": "press"}, "all variables would have the name 'press'"),
        ({"poll": "1s", "queue_size": 3}, "it does nothing to a tag that is polled"),
        ({"min_interval": "2s", "max_interval": "1s"}, "at least as often as 'max_interval' says"),
        ({"max": 60_000}, "less than or equal to 50000"),
    ],
)
def test_what_a_browse_rule_cannot_mean_is_refused(rule: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        device(browse=[{"under": "/Objects", **rule}])


def test_rules_that_may_find_more_than_a_device_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="its rules may find 150,000 variables; one device can have 100,000"):
        device(browse=[{"under": "/Objects", "max": 50_000}] * 3)


def test_tags_of_a_rule_are_read_and_reported_as_it_says() -> None:
    found = device(
        browse=[{"under": "/Objects", "poll": "10s", "deadband": "1%", "lane": "alarms", "name": "press/{path}"}]
    )
    (rule,) = found.browse
    name = rule.tag_name({"path": "Ram/Force", "name": "Force", "id": "7"})
    tag = rule.tag(name, "ns=2;i=7")
    assert (tag.name, tag.at, tag.poll_s, tag.lane, tag.writable) == (
        "press/Ram/Force",
        "ns=2;i=7",
        10.0,
        "alarms",
        None,
    )
    report = found.report_rule(tag)
    assert (report.always, report.deadband_percent) == (False, 1.0)
    assert found.lag_s_max == 10.0


@pytest.mark.parametrize(
    ("more", "policy"),
    [
        ({"insecure": False}, None),
        ({"insecure": True}, "None"),
        ({"insecure": True, "security": {"policy": "Basic256Sha256"}}, "Basic256Sha256"),
        ({"insecure": False, "security": {"user": "me"}}, None),
    ],
)
def test_a_session_is_secured_unless_the_file_allows_that_it_is_not(more: dict[str, Any], policy: str | None) -> None:
    made = device({}, **more)
    assert (made.policy, made.is_insecure) == (policy, policy == "None")


@pytest.mark.parametrize(
    ("security", "weaker"),
    [
        ({"mode": "Sign"}, "it is not encrypted"),
        ({"trust": {"allow": ["expired"]}}, "may be wrong in expired"),
        ({"trust": {"issuers": ["/etc/ca.pem"]}}, "/etc/ca.pem has issued"),
        ({"user": "me", "password": "${env:PATH}", "plain_password": "allow"}, "plain text"),
    ],
)
def test_what_weakens_a_session_is_known_so_that_a_file_of_the_cloud_cannot_bring_it(
    security: dict[str, Any], weaker: str
) -> None:
    if "password" in security:
        security = security | {"password": "${env:HOME}"}
    before, after = device({}, insecure=False), device({}, insecure=False, security=security)
    (found,) = after.weaknesses - before.weaknesses
    assert weaker in found
    assert device({}, insecure=True).weaknesses - before.weaknesses == {"it is neither signed nor encrypted"}


def test_a_device_may_have_servers_that_stand_in_for_the_first() -> None:
    made = device({}, backup=["opc.tcp://b:4840", "opc.tcp://c"])
    assert made.endpoints == ("opc.tcp://press", "opc.tcp://b:4840", "opc.tcp://c")
    assert made.at("opc.tcp://c").endpoint == "opc.tcp://c"
    for wrong in (["http://b"], ["opc.tcp://press"], ["opc.tcp://b", "opc.tcp://b"]):
        with pytest.raises(ValueError, match=r"is not an OPC UA endpoint|stands there twice"):
            device({}, backup=wrong)
