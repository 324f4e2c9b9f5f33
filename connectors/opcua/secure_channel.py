"""The secure channel of a client: opened, and patient with messages that its last token but one has secured.

A server goes on with the old token until it gets a message with the new one, and what it has sent before may lie here
unread for as long as this machine is busy. (OPC UA Part 4, 5.5.2: a client is to accept the old token for another
quarter of its lifetime. asyncua 2.1 throws its keys away at the end of the lifetime itself, tries keys by trial and
error, and judges the age of a token by the server's clock, which in a controller may be hours wrong.)
"""

from __future__ import annotations

import time
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.connection import SecureConnection
from asyncua.crypto import uacrypto
from asyncua.crypto.security_policies import Cryptography
from asyncua.ua.uaerrors import UaError

OVERTIME: Final = 0.25
"""For so much of its lifetime a token counts on, after it has expired or was replaced, whichever is later."""


class TokenKeys(Cryptography):
    """The keys of the token in use and of the one before; a message is read with those of the token that it names."""

    names_old_token = False

    @property
    def use_prev_key(self) -> bool:
        """Whether the message in hand names the token before. Raises ``InvalidSignature`` when its keys are gone."""
        if self.names_old_token and self.Prev_Verifier is None:
            raise uacrypto.InvalidSignature  # type: ignore[attr-defined]
        return self.names_old_token

    @use_prev_key.setter
    def use_prev_key(self, value: bool) -> None:
        """Asyncua tries the one and then the other."""

    def revolved_expired_key(self) -> None:
        """Keys stay until the next ones come: ``PatientConnection`` knows for how long their token counts."""


class PatientConnection(SecureConnection):
    """See the head of this module; intervals are of the agent's own monotonic clock."""

    _made_s = 0.0
    _old_until_s = 0.0

    def set_channel(self, params: Any, request_type: ua.SecurityTokenRequestType, client_nonce: bytes) -> None:
        """See ``SecureConnection``."""
        super().set_channel(params, request_type, client_nonce)
        if request_type == ua.SecurityTokenRequestType.Issue:
            self._made_s = time.monotonic()

    def revolve_tokens(self) -> None:
        """See ``SecureConnection``."""
        lifetime_s, now_s = self.security_token.RevisedLifetime / 1000.0, time.monotonic()
        super().revolve_tokens()
        self._old_until_s = max(self._made_s + lifetime_s, now_s) + OVERTIME * lifetime_s
        self._made_s = now_s

    def _check_sym_header(self, security_hdr: ua.SymmetricAlgorithmHeader) -> None:
        keys, token = self.security_policy.symmetric_cryptography, security_hdr.TokenId
        is_old = token == self.prev_security_token.TokenId and token not in (
            self.security_token.TokenId,
            self.next_security_token.TokenId,
        )
        if isinstance(keys, TokenKeys):
            keys.names_old_token = is_old
        if not is_old:
            super()._check_sym_header(security_hdr)
        elif time.monotonic() > self._old_until_s:
            raise UaError(f"a message is secured with token {token}, which has expired")


async def connect(client: Client) -> None:
    """Connect to the server of ``client`` and open a secure channel, also once more after an earlier one was lost.

    Raises what asyncua raises, and as what the server refuses it.
    """
    await client.connect_socket()
    protocol = client.uaclient.protocol
    if protocol is None:
        raise ConnectionError("the connection is closed")
    policy = client.security_policy
    if isinstance(policy.symmetric_cryptography, Cryptography):
        policy.symmetric_cryptography = TokenKeys(policy.Mode)  # type: ignore[no-untyped-call]
    protocol._connection = PatientConnection(policy, protocol._connection._limits)  # noqa: SLF001
    await client.send_hello()
    await _open_channel(client)


async def _open_channel(client: Client) -> None:
    """Open the secure channel of a connected client.

    (asyncua takes any answer for an OpenSecureChannelResponse, and fails at a ServiceFault without a word of it.)
    """
    protocol = client.uaclient.protocol
    if protocol is None:
        raise ConnectionError("the connection is closed")
    send, sent = protocol._send_request, []  # noqa: SLF001

    def kept(*args: Any, **named: Any) -> Any:
        sent.append(send(*args, **named))
        return sent[-1]

    protocol._send_request = kept  # type: ignore[method-assign]  # noqa: SLF001
    try:
        await client.open_secure_channel()
    except AssertionError as exc:
        protocol.check_answer(sent[-1].result(), " in response to OpenSecureChannelRequest")
        raise ConnectionError("the connection was closed while the channel was opened") from exc
    finally:
        del protocol._send_request  # noqa: SLF001
