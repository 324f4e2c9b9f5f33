"""Whatever a device file may name as a node id can be sent to a server; anything else is a sentence."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary

from connectors.opcua.addresses import parse_node_id

NAMESPACES = ["http://opcfoundation.org/UA/", "urn:server", "http://acme.example/press"]
GUID = "09087e75-8e5e-499b-954f-f2a9603db28a"


@pytest.mark.parametrize(
    ("at", "node"),
    [
        ("i=2258", ua.NodeId(2258, 0)),
        ("ns=2;i=0", ua.NodeId(0, 2)),
        ("ns=65535;i=4294967295", ua.NodeId(4294967295, 65535)),
        ("nsu=http://acme.example/press;s=Ram;Force=1", ua.NodeId("Ram;Force=1", 2)),
        (f"ns=2;g={GUID.upper()}", ua.NodeId(UUID(GUID), 2)),
        ("ns=2;b=aGk=", ua.NodeId(b"hi", 2)),
        ("ns=2;s=" + "ü" * 4096, ua.NodeId("ü" * 4096, 2)),
    ],
)
def test_a_written_node_id_is_the_node_id_that_is_sent(at: str, node: ua.NodeId) -> None:
    found = parse_node_id(at, NAMESPACES)
    assert found == node
    assert nodeid_to_binary(found) == nodeid_to_binary(node)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("Ram.Force", "'Ram.Force' is not a node id; write it as nsu="),
        ("ns=70000;i=5", "'ns=70000;i=5': the index of a namespace goes from 0 to 65535; write"),
        (f"ns={'9' * 5000};i=5", "the index of a namespace goes from 0 to 65535; write"),
        ("ns=2;i=4294967296", "'ns=2;i=4294967296': after i= comes a number from 0 to 4294967295; write s="),
        ("ns=2;i=abc", "'ns=2;i=abc': after i= comes a number"),
        ("ns=2;i=-1", "after i= comes a number"),
        ("ns=2;i=1.5", "after i= comes a number"),
        ("ns=2;i=²", "after i= comes a number"),
        ("ns=2;g=xyz", "'ns=2;g=xyz': after g= comes a GUID; write it"),
        (f"ns=2;g={{{GUID}}}", "after g= comes a GUID"),
        ("ns=2;b=abc!", "'ns=2;b=abc!': after b= come bytes in base64; write"),
        ("ns=2;b=ü", "after b= come bytes in base64"),
        ("ns=2;s=" + "x" * 4097, "the text after s= has 4097 characters, and OPC UA allows 4096"),
        ("nsu=http://acme.example/oven;i=1", "the server has no namespace 'http://acme.example/oven'; it has 'urn:s"),
    ],
)
def test_what_is_no_node_id_is_said_in_a_sentence(at: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        parse_node_id(at, NAMESPACES)
    assert "invalid literal" not in str(caught.value)
    assert "badly formed" not in str(caught.value)
