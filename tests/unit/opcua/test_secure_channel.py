"""Messages around the renewal of a secure channel: each is read with the keys of the token that it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto import uacrypto
from asyncua.crypto.security_policies import Cryptography, SecurityPolicyBasic256Sha256
from asyncua.ua.ua_binary import header_from_binary
from asyncua.ua.uaerrors import UaError

from connectors.opcua import secure_channel
from connectors.opcua.secure_channel import PatientConnection, TokenKeys

LIFETIME_S = 600.0
BODY = b"a response of the server"


def secured(keys: Cryptography) -> Any:
    """A policy with its symmetric half alone: a channel is opened by a test, and not by certificates."""
    policy = SecurityPolicyBasic256Sha256.__new__(SecurityPolicyBasic256Sha256)
    policy.symmetric_cryptography = keys
    policy.Mode = ua.MessageSecurityMode.SignAndEncrypt
    return policy


class Channel:
    """Both ends of a channel; ``now_s`` is the agent's monotonic clock, ``server_ahead`` how wrong the server's is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, server_ahead: timedelta = timedelta()) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(secure_channel.time, "monotonic", lambda: self.now_s)
        mode = ua.MessageSecurityMode.SignAndEncrypt
        self.server = SecureConnection(secured(Cryptography(mode)), TransportLimits())
        self.client = PatientConnection(secured(TokenKeys(mode)), TransportLimits())
        self._ahead, self._tokens = server_ahead, 0
        self._open(ua.SecurityTokenRequestType.Issue)
        self.server.security_token = self._token()
        self.server.security_policy.make_local_symmetric_key(b"client 1", b"server 1")

    def _token(self) -> ua.ChannelSecurityToken:
        made = datetime.now(UTC) + self._ahead
        return ua.ChannelSecurityToken(ua.UInt32(7), ua.UInt32(self._tokens), made, ua.UInt32(round(LIFETIME_S * 1000)))

    def _open(self, kind: ua.SecurityTokenRequestType) -> None:
        self._tokens += 1
        result = ua.OpenSecureChannelResult(0, self._token(), b"server %d" % self._tokens)
        self.client.set_channel(result, kind, b"client %d" % self._tokens)

    def renew(self) -> None:
        """The client has a new token, and uses it."""
        self._open(ua.SecurityTokenRequestType.Renew)
        self.client.revolve_tokens()

    def hear(self) -> None:
        """The server has heard a message with the new token: it uses it from now on."""
        self.server.security_token = self._token()
        number = self._tokens
        self.server.security_policy.make_local_symmetric_key(b"client %d" % number, b"server %d" % number)

    def said(self) -> bytes:
        """A message as the server sends it now."""
        return self.server.message_to_binary(BODY)

    def read(self, message: bytes) -> bytes:
        buffer = Buffer(message)
        found = self.client.receive_from_header_and_body(header_from_binary(buffer), buffer)
        return bytes(found.body().read(len(BODY)))


def test_a_message_of_the_old_token_is_read_when_the_renewal_came_late(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch)
    channel.now_s += 1.1 * LIFETIME_S
    before = channel.said()
    channel.renew()
    channel.now_s += 0.2 * LIFETIME_S
    assert channel.read(before) == BODY
    channel.hear()
    assert channel.read(channel.said()) == BODY


def test_an_old_token_counts_for_a_quarter_of_its_lifetime_more_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch)
    channel.now_s += 0.7 * LIFETIME_S
    channel.renew()
    channel.now_s += 0.5 * LIFETIME_S
    assert channel.read(channel.said()) == BODY
    channel.now_s += 0.1 * LIFETIME_S
    with pytest.raises(UaError, match="which has expired"):
        channel.read(channel.said())


@pytest.mark.parametrize("hours", [-20, 20])
def test_the_clock_of_a_server_may_be_wrong(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    channel = Channel(monkeypatch, timedelta(hours=hours))
    for _ in range(3):
        channel.now_s += 0.7 * LIFETIME_S
        channel.renew()
        assert channel.read(channel.said()) == BODY
        channel.hear()
        assert channel.read(channel.said()) == BODY


def test_a_message_is_not_read_with_the_keys_of_a_token_that_it_does_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch)
    channel.renew()
    channel.server.security_token = ua.ChannelSecurityToken(ua.UInt32(7), ua.UInt32(2))  # and the keys of the old one
    with pytest.raises(uacrypto.InvalidSignature):
        channel.read(channel.said())


def test_a_token_that_was_never_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch)
    channel.renew()
    channel.server.security_token = ua.ChannelSecurityToken(ua.UInt32(7), ua.UInt32(9))
    with pytest.raises(UaError, match="Invalid security token id 9"):
        channel.read(channel.said())
