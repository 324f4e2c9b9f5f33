"""How a session is secured: the endpoint chosen, the server's certificate judged, the agent's own pair, and the user.

What a server says of its endpoints before there is a secured channel is believed for choosing alone: within the channel
it says it again, and a session whose security is less than what it offers there is not used (Part 4, 5.7.2.2).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography.exceptions import InvalidSignature

from connectors.model.errors import LinesideError
from connectors.opcua.endpoints import (
    POLICY_PREFIX,
    ChosenEndpoint,
    choose,
    choose_token,
    session_url,
    stronger_offer,
)
from connectors.opcua.security_settings import Policy
from connectors.opcua.server_trust import checked_server, still_trusted, trust_store
from connectors.opcua.settings import OpcUaDevice
from connectors.trust.own import PRODUCT_URI, OwnCertificate, load_pair, own_certificate

TRUST_CHECK_S: Final = 15.0
"""A session with a certificate that is not trusted any more ends within this time."""

_CLASSES: Final[dict[Policy, type[security_policies.SecurityPolicy]]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


class SessionUnsafe(LinesideError):
    """The server does not do in the secured channel what it has said before: somebody may be between."""


async def prepared(device: OpcUaDevice, endpoint: str) -> tuple[Client, ChosenEndpoint | None]:
    """A client for a session at ``endpoint``, not connected yet, and what it was chosen by; ``None`` without security.

    Asks the server for its endpoints where the session is to be secured, and reads and writes the trust list. Raises
    ``EndpointUnfit``, ``ServerUntrusted``, ``CertificateUnusable``, and what asyncua raises.
    """
    if device.policy == "None":
        return _client(device, endpoint), None
    own = await asyncio.to_thread(_own_pair, device)  # first: whoever accepts the server wants to have it there, too
    endpoints = await _client(device, endpoint).connect_and_get_server_endpoints()
    chosen = choose(endpoints, device.policy, device.security)
    description = chosen.endpoint
    certificate = await asyncio.to_thread(
        checked_server,
        device,
        endpoint,
        description.ServerCertificate or b"",
        _application_uri(description),
        time.time(),
    )
    client = _client(device, session_url(endpoint, description.EndpointUrl or ""))
    client.application_uri = own.application_uri
    secured = _CLASSES[chosen.policy](certificate, own.certificate, own.key, chosen.mode, host_cert_chain=own.issuers)
    client.security_policy = secured  # type: ignore[assignment]
    client.uaclient.set_security(secured)
    return client, chosen


async def create_session(client: Client, device: OpcUaDevice, endpoint: str, chosen: ChosenEndpoint | None) -> None:
    """Create the session of a connected client and activate it, as the user of ``device``.

    Raises ``SessionUnsafe``, ``EndpointUnfit``, ``ServerUntrusted``, ``CertificateUnusable``, and what asyncua raises.
    """
    try:
        answer = await client.create_session()
    except InvalidSignature as exc:
        raise SessionUnsafe("the server could not prove that its certificate is its own") from exc
    except UaError as exc:
        if isinstance(exc, UaStatusCodeError):
            raise
        raise SessionUnsafe(f"the server does not confirm what the session was secured with ({exc})") from exc
    offered = Client.find_endpoint(answer.ServerEndpoints, client.security_policy.Mode, client.security_policy.URI)
    if chosen is not None:
        _check_no_less(answer.ServerEndpoints, offered, chosen, device)
    token = choose_token(offered, device.security)
    if chosen is None and _is_encrypted_password(token):
        # a password that is encrypted for whoever answers is not hidden from anybody
        data, uri = answer.ServerCertificate or b"", _application_uri(offered)
        await asyncio.to_thread(checked_server, device, endpoint, data, uri, time.time())
    client._policy_ids = [token]  # noqa: SLF001  it has no other way to say which
    await activate(client, device)


async def activate(client: Client, device: OpcUaDevice) -> None:
    """Activate the session of a connected client as the user of ``device``, the first time or on another channel.

    It is signed over what the server has said last (Part 4, 5.6.3). Raises ``CertificateUnusable``, and what asyncua
    raises.
    """
    security = device.security
    if security.user_certificate is not None and security.user_key is not None:
        user = await asyncio.to_thread(load_pair, security.user_certificate, security.user_key)
        client.user_certificate, client.user_private_key = user.certificate, user.key
        client.user_certificate_chain = list(user.issuers)
        await client.activate_session(certificate=user.certificate)
        return
    password = None if security.password is None else security.password.get_secret_value()
    await client.activate_session(security.user, password)


async def check_trust(client: Client, device: OpcUaDevice, endpoint: str) -> None:
    """Raise ``ServerUntrusted`` when the certificate that a session was opened with is not trusted any more."""
    data = client.security_policy.peer_certificate
    if data is not None and client.security_policy.Mode != ua.MessageSecurityMode.None_:
        await asyncio.to_thread(still_trusted, device, endpoint, data, time.time())


async def watch_trust(client: Client, device: OpcUaDevice, endpoint: str) -> None:
    """Wait until the certificate of an open session is not trusted any more. Raises ``ServerUntrusted`` then."""
    while True:
        await asyncio.sleep(TRUST_CHECK_S)
        await check_trust(client, device, endpoint)


def _client(device: OpcUaDevice, endpoint: str) -> Client:
    client = Client(endpoint, timeout=device.timeout_s)
    client.name = client.description = "Lineside edge agent"
    client.application_uri = client.product_uri = PRODUCT_URI
    client.session_timeout = round(device.session_s * 1000)
    return client


def _own_pair(device: OpcUaDevice) -> OwnCertificate:
    security = device.security
    if security.certificate is not None and security.key is not None:
        return load_pair(security.certificate, security.key)
    folder = trust_store(device).folder
    return own_certificate(folder, "" if device.place is None else device.place.agent)


def _check_no_less(
    endpoints: Sequence[ua.EndpointDescription],
    offered: ua.EndpointDescription,
    chosen: ChosenEndpoint,
    device: OpcUaDevice,
) -> None:
    better = stronger_offer(endpoints, chosen) if device.policy is None else ""
    if better:
        raise SessionUnsafe(
            f"the server offers {better}, and before the channel was secured {chosen.policy} was the best that was "
            f"seen: somebody may be between. Where that is a fault of the server, write 'policy: {chosen.policy}'"
        )
    before, now = _application_uri(chosen.endpoint), _application_uri(offered)
    if before != now:
        raise SessionUnsafe(f"the server calls itself {now}, and before the channel was secured {before}")


def _application_uri(endpoint: ua.EndpointDescription) -> str:
    return "" if endpoint.Server is None else str(endpoint.Server.ApplicationUri or "")


def _is_encrypted_password(token: ua.UserTokenPolicy) -> bool:
    return bool(token.TokenType == ua.UserTokenType.UserName) and token.SecurityPolicyUri != POLICY_PREFIX + "None"
