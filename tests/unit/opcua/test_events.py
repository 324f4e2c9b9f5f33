"""Events as samples: what is told of a condition, and what was told before, with events as asyncua would send them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_to_binary

from connectors.model.datatypes import DataType
from connectors.model.tags import TagName, TagType
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.event_fields import select_clauses
from connectors.opcua.events import CONDITIONS_MAX, Conditions, Events
from connectors.opcua.method_names import OF_CONDITIONS, check_call
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.tag_settings import OpcUaTag

NOON = datetime(2026, 11, 29, 12)
NOON_NS = 1_795_953_600_000_000_000
TAG = 3


def events(**settings: Any) -> Events:
    """Of one tag."""
    tag = OpcUaTag.model_validate({"name": "alarms", "at": "i=2253", "events": settings or True})
    found = Events(Conditions())
    found.namespaces = ("http://opcfoundation.org/UA/", "urn:server", "urn:press")
    found.bind(BoundTag(TAG, tag, ua.NodeId(2253), DataType.STRING, TagType(TAG, TagName("alarms"), DataType.STRING)))
    return found


def fields(kind: int = ObjectIds.SystemEventType, event: bytes = b"1", **more: ua.Variant) -> ua.EventFieldList:
    """An event of a type, and what else it says by the names of fields."""
    known = {
        "EventId": ua.Variant(event, ua.VariantType.ByteString),
        "EventType": ua.Variant(ua.NodeId(kind), ua.VariantType.NodeId),
        "Time": ua.Variant(NOON + timedelta(microseconds=7), ua.VariantType.DateTime),
        "Severity": ua.Variant(500, ua.VariantType.UInt16),
        **more,
    }
    names = [clause.BrowsePath[0].Name if clause.BrowsePath else "ConditionId" for clause in select_clauses()]
    return ua.EventFieldList(ClientHandle=ua.UInt32(TAG), EventFields=[known.get(name, ua.Variant()) for name in names])


def condition(event: bytes, name: str = "TooHard", **more: Any) -> ua.EventFieldList:
    truth = {key: ua.Variant(value, ua.VariantType.Boolean) for key, value in ({"Retain": True} | more).items()}
    node = ua.NodeId(name, ua.Int16(2))
    return fields(ObjectIds.OffNormalAlarmType, event, ConditionId=ua.Variant(node, ua.VariantType.NodeId), **truth)


def refresh(kind: str) -> ua.EventFieldList:
    return fields(getattr(ObjectIds, f"Refresh{kind}EventType"))


def told(read: Events, *lists: ua.EventFieldList) -> list[dict[str, Any]]:
    body = struct_to_binary(ua.EventNotificationList(Events=list(lists)))
    batch, lost = read.decode([body], 1)
    assert lost == []
    return [] if batch is None else [json.loads(value) for _, _, value, _ in batch.rows()]


def test_an_event_is_told_at_its_time_with_the_fields_that_it_has() -> None:
    body = struct_to_binary(ua.EventNotificationList(Events=[condition(b"\x00\x01", ActiveState=True)]))
    batch, _ = events().decode([body], 1)
    assert batch is not None
    ((tag, time_ns, value, quality),) = batch.rows()
    assert (tag, time_ns, quality) == (TAG, NOON_NS + 7000, 0)
    assert json.loads(value) == {
        "id": "AAE=",
        "type": "OffNormalAlarmType",
        "severity": 500,
        "condition": "nsu=urn:press;s=TooHard",
        "retain": True,
        "active": True,
    }


def test_a_condition_is_told_once_for_each_of_its_events_and_ended_when_a_refresh_leaves_it_out() -> None:
    read = events()
    assert len(told(read, condition(b"1"), condition(b"2", "TooLong"), condition(b"1"))) == 2
    assert told(read, refresh("Start"), condition(b"1"), refresh("End")) == [
        {
            "id": "Mg==",
            "type": "OffNormalAlarmType",
            "severity": 500,
            "condition": "nsu=urn:press;s=TooLong",
            "retain": False,
            "ended": "it was not among those that the server has told anew",
        }
    ]
    assert told(read, refresh("Start"), condition(b"1"), refresh("End")) == [], "it is said once"
    assert [each["id"] for each in told(read, condition(b"3", Retain=False))] == ["Mw=="]
    assert told(read, refresh("Start"), refresh("End")) == [], "an alarm that has ended in order ends once"


def test_a_refresh_that_was_cut_off_ends_nothing() -> None:
    read = events()
    told(read, condition(b"1"))
    told(read, refresh("Start"))
    assert told(read, refresh("Start"), condition(b"1"), refresh("End")) == []
    assert told(read, refresh("End")) == []


def test_a_state_that_was_lost_with_its_connection_before_it_was_stored_is_news_again() -> None:
    read = events()
    assert [each["id"] for each in told(read, condition(b"1"), condition(b"1", "TooCold"))] == ["MQ==", "MQ=="]
    read.handed_over()
    assert told(read, condition(b"2")) != []
    read.not_handed_over()
    assert [each["id"] for each in told(read, condition(b"2"), condition(b"1", "TooCold"))] == ["Mg=="]
    read.handed_over()
    refreshed = [refresh("Start"), condition(b"2"), refresh("End")]
    assert [each["retain"] for each in told(read, *refreshed)] == [False]
    read.not_handed_over()
    assert [each["retain"] for each in told(read, *refreshed)] == [False]


def test_less_severe_events_are_left_out_and_lost_ones_and_refreshes_are_noticed() -> None:
    read = events(severity=501)
    assert told(read, fields()) == []
    assert not read.is_refresh_required
    told(read, refresh("Required"))
    assert read.is_refresh_required
    body = struct_to_binary(ua.EventNotificationList(Events=[fields(ObjectIds.EventQueueOverflowEventType)]))
    assert read.decode([body], 1) == (None, [(TAG, NOON_NS + 7000)])


def test_states_are_remembered_of_so_many_conditions_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONDITIONS_MAX == 10_000
    monkeypatch.setattr("connectors.opcua.events.CONDITIONS_MAX", 100)
    read = events()
    told(read, *[condition(b"1", f"c{number}") for number in range(101)])
    assert len(told(read, condition(b"1", "c0"), condition(b"1", "c100"))) == 1


def test_a_text_as_long_as_a_book_is_cut_short() -> None:
    (event,) = told(events(), fields(Message=ua.Variant(ua.LocalizedText("x" * 50_000), ua.VariantType.LocalizedText)))
    assert event["message"] == "x" * 200


def test_bytes_that_are_no_events_are_a_known_error() -> None:
    body = struct_to_binary(ua.EventNotificationList(Events=[condition(b"1")]))
    for cut in range(4, len(body)):
        with pytest.raises(DECODING_ERRORS):
            events().decode([body[:cut]], 1)
    with pytest.raises(DECODING_ERRORS):
        events().decode([b"\xff\xff\xff\x7f" + body[4:]], 1)


@pytest.mark.parametrize(
    "more", [{"poll": "1s"}, {"deadband": 1}, {"scale": 2.0}, {"type": "int16"}, {"writable": True}, {"unit": "kN"}]
)
def test_what_is_said_of_a_value_means_nothing_for_events(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="events have no value for which it could hold"):
        OpcUaTag.model_validate({"name": "alarms", "at": "i=2253", "events": True, **more})


def test_methods_of_alarms_have_the_numbers_of_the_specification() -> None:
    assert {
        "acknowledge": ObjectIds.AcknowledgeableConditionType_Acknowledge,
        "confirm": ObjectIds.AcknowledgeableConditionType_Confirm,
        "add_comment": ObjectIds.ConditionType_AddComment,
    } == OF_CONDITIONS
    for written in (*OF_CONDITIONS, "ns=2;s=Start", "ns=2;s=Press / ns=2;s=Start", "/Objects/2:Press/Start"):
        check_call(written)


def test_a_step_that_can_call_nothing_is_refused() -> None:
    entry = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://p", "insecure": True}
    tags = [{"name": "alarms", "at": "i=2253", "events": True}]
    for written in ("Start", "/Objects/Start"):
        commands = {"start": {"steps": [{"call": written}]}}
        with pytest.raises(ValueError, match="Or write acknowledge, confirm or add_comment, for an alarm"):
            OpcUaDevice.model_validate(entry | {"tags": tags, "commands": commands})
