"""The ways to people and other systems: a real mail server with TLS, chats, and addresses that are never asked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Final

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lineside.servers.child_process import free_port

from connectors.notify.chat import ChatRoom
from connectors.notify.smtp import SmtpChannel, SmtpOptions
from connectors.notify.webhook import PublicPoster, is_public
from connectors.ports.notify import Message, NotTold
from connectors.ports.vendors import AccessRefused, CallRefused, VendorUnavailable

MESSAGE: Final = Message("01JD", "Oven is hot", "text\nä", "<p>text</p>", ["shift@example.com"])


# -- addresses that are not asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "255.255.255.255"],
)  # fmt: skip
def test_an_address_of_an_inner_network_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_an_address_of_the_internet_is_public() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2a00:1450:4001:80b::200e")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://127.0.0.1/", "not an address of the public Internet"),
        ("https://[::1]/", "not an address of the public Internet"),
        ("https://localhost/", "not an address of the public Internet"),
        ("https://2130706433/", "not an address of the public Internet"),
        ("http://8.8.8.8/", "https alone"),
        ("https://8.8.8.8:22/", "https alone"),
        ("https://user:secret@8.8.8.8/", "is not an address"),
        ("file:///etc/passwd", "is not an address"),
        ("gopher://8.8.8.8/", "is not an address"),
    ],
)
async def test_what_leads_into_our_own_network_is_not_asked(url: str, why: str) -> None:
    poster = PublicPoster()
    with pytest.raises(CallRefused, match=why):
        await poster.post(url, b"{}", {})
    await poster.close()


async def test_a_name_is_not_resolved_again_for_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[(2, 1, 6, "", ("127.0.0.1", 0))], [(2, 1, 6, "", ("192.168.1.1", 0))]]
    asked: list[str] = []

    async def resolve(host: str, *_: object, **__: object) -> Any:
        asked.append(host)
        return answers[min(len(asked), 2) - 1]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    poster = PublicPoster(allow_private=True)
    with pytest.raises(VendorUnavailable, match=r"rebind\.example cannot be reached"):
        await poster.post(f"http://rebind.example:{free_port()}/", b"{}", {})
    assert asked[0] == "rebind.example"
    assert set(asked[1:]) <= {"127.0.0.1"}, "the connection goes to the address that was looked at"
    await poster.close()


# -- a real server that takes posts ------------------------------------------------------------------------------------


@asynccontextmanager
async def taking_posts(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        taken.append(head + await reader.readexactly(length))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", taken


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with taking_posts(redirect) as (url, taken):
        poster = PublicPoster(allow_private=True)
        assert (await poster.post(f"{url}/in", b"{}", {"webhook-id": "1"})).status == 302
        assert b"webhook-id: 1" in taken[0]
        await poster.close()


@pytest.mark.parametrize("kind", ["slack", "mattermost", "teams"])
async def test_a_chat_takes_the_message_and_nobody_is_called_by_it(kind: Any) -> None:
    async with taking_posts(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (url, taken):
        room = ChatRoom("ops", f"{url}/secret", kind)
        await room.send(Message("1", "Oven", "<!channel> @here & more", "", ()))
        await room.close()
        body = json.loads(taken[0].partition(b"\r\n\r\n")[2])
        if kind == "teams":
            assert body["attachments"][0]["content"]["body"][0]["text"] == "Oven"
        else:
            assert body["text"] == "*Oven*\n&lt;!channel&gt; @\u200bhere &amp; more"


# -- e-mail ------------------------------------------------------------------------------------------------------------


class Mailbox:
    """What aiosmtpd hands over; a recipient ``no@`` is refused, and ``later@`` is not taken now."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address.startswith("no@"):
            return "550 there is no such mailbox"
        if address.startswith("later@"):
            return "450 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


@contextmanager
def mail_server(mailbox: Mailbox, context: ssl.SSLContext | None = None) -> Iterator[int]:
    def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"lineside", b"secret"), handled=False)

    more = {} if context is None else {"tls_context": context, "require_starttls": True, "authenticator": login,
                                       "auth_required": True}  # fmt: skip
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **more)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


async def test_a_mail_goes_by_tls_with_a_login_and_is_plain_text_and_html(tmp_path: Path) -> None:
    mailbox = Mailbox()
    ca_file, context = certificate(tmp_path)
    with mail_server(mailbox, context) as port:

        def options(**more: Any) -> SmtpOptions:
            return SmtpOptions("localhost", port, "Lineside <lineside@acme.example>", user="lineside",
                               **{"password": "secret", "ca_file": str(ca_file), **more})  # fmt: skip

        await SmtpChannel(options()).send(MESSAGE)
        (mail,) = mailbox.mails
        assert mail["Message-ID"] == "<01JD@acme.example>"
        assert (mail["Subject"], mail["To"]) == ("Oven is hot", "shift@example.com")
        await SmtpChannel(options()).send(replace(MESSAGE, sender_name="Acmé, Works"))
        name, address = parseaddr(str(mailbox.mails[1]["From"]))
        assert (str(make_header(decode_header(name))), address) == ("Acmé, Works", "lineside@acme.example")
        assert [part.get_content_type() for part in mail.walk()][1:] == ["text/plain", "text/html"]
        with pytest.raises(AccessRefused, match="login"):
            await SmtpChannel(options(password="other")).send(MESSAGE)
        with pytest.raises(CallRefused, match="no such mailbox"):
            await SmtpChannel(options()).send(Message("2", "s", "t", "h", ["no@example.com"]))
        several = ["no@example.com", "shift@example.com", "later@example.com"]
        assert await SmtpChannel(options()).send(replace(MESSAGE, recipients=several)) == [
            NotTold("no@example.com", "550 there is no such mailbox", True),
            NotTold("later@example.com", "450 come back later", False),
        ], "the others have it"
        assert mailbox.mails[2]["To"] == ", ".join(several)
        with pytest.raises(VendorUnavailable):
            await SmtpChannel(options(ca_file="")).send(MESSAGE)
    with pytest.raises(VendorUnavailable, match="cannot be reached"):
        await SmtpChannel(options()).send(MESSAGE)


async def test_a_mail_does_not_go_without_tls_to_a_server_that_has_none() -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        with pytest.raises(VendorUnavailable):
            await SmtpChannel(SmtpOptions("127.0.0.1", port, "lineside@acme.example")).send(MESSAGE)
        assert mailbox.mails == []
        await SmtpChannel(SmtpOptions("127.0.0.1", port, "lineside@acme.example", "none")).send(MESSAGE)
        assert len(mailbox.mails) == 1
