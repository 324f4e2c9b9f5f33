"""Posts to addresses that customers have given, and never into our own network (server-side request forgery).

A name is resolved once; each of its addresses has to be a public one, and the connection goes to one of these. So one
that answers differently a moment later (DNS rebinding) leads nowhere. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

import httpx

from connectors.ports.notify import Posted
from connectors.ports.vendors import CallRefused, VendorUnavailable

TIMEOUT_S: Final = 15.0
TEXT_BYTES_MAX: Final = 2000
_PORTS: Final = frozenset({443, 8443})


class PublicPoster:
    """See ``WebhookPoster``. ``allow_private``: addresses of the own network and plain HTTP are allowed, too."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """See ``WebhookPoster``."""
        target, address = await self._looked_at(url)
        host = target.host
        request = self._client.build_request(
            "POST",
            target.copy_with(host=address),
            content=body,
            headers={**headers, "Host": target.netloc.decode(), "User-Agent": "Lineside-Webhook/1"},
            extensions={"sni_hostname": host},
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._client.send(request, stream=True)
                try:
                    text = await _beginning(answer)
                finally:
                    await answer.aclose()
        except TimeoutError as exc:
            raise VendorUnavailable(f"{host} has not answered within {TIMEOUT_S:g} s") from exc
        except httpx.HTTPError as exc:
            raise VendorUnavailable(f"{host} cannot be reached: {str(exc) or type(exc).__name__}") from exc
        return Posted(answer.status_code, text)

    async def check(self, url: str) -> None:
        """See ``WebhookPoster``."""
        await self._looked_at(url)

    async def close(self) -> None:
        """See ``WebhookPoster``."""
        await self._client.aclose()

    async def _looked_at(self, url: str) -> tuple[httpx.URL, str]:
        try:
            target = httpx.URL(url)
        except httpx.InvalidURL as exc:
            raise CallRefused(f"{url!r} is no address: {exc}") from exc
        if not target.host or target.scheme not in ("https", "http") or target.userinfo:
            raise CallRefused(f"{url!r} is not an address such as https://erp.example/lineside")
        port = target.port or (443 if target.scheme == "https" else 80)
        if not self._allow_private and (target.scheme != "https" or port not in _PORTS):
            ports = " or ".join(str(one) for one in sorted(_PORTS))
            raise CallRefused(f"{url!r}: webhooks go to https alone, port {ports}")
        return target, await self._address(target.host, port)

    async def _address(self, host: str, port: int) -> str:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise VendorUnavailable(f"the name {host!r} cannot be resolved: {exc}") from exc
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        hidden = [address for address in addresses if not is_public(address)]
        if hidden and not self._allow_private:
            raise CallRefused(f"{host!r} is {hidden[0]}, which is not an address of the public Internet")
        return addresses[0]


def is_public(text: str) -> bool:
    """Whether ``text`` is an address that anybody may ask, and not one of this machine or of an inner network."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return is_public(str(inner))
        if address in ipaddress.ip_network("64:ff9b::/96"):  # RFC 6052: an IPv4 address in its last 32 bits
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
    return address.is_global and not address.is_multicast


async def _beginning(answer: httpx.Response) -> str:
    read = b""
    async for part in answer.aiter_bytes():
        read += part
        if len(read) >= TEXT_BYTES_MAX:
            break
    return read[:TEXT_BYTES_MAX].decode(errors="replace").replace("\0", "")
