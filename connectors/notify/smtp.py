"""E-mail by SMTP (RFC 5321), with TLS."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formataddr, formatdate, parseaddr
from typing import Final, Literal

import aiosmtplib

from connectors.ports.notify import ATTACHMENTS_MAX, Message, NotTold
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain, VendorUnavailable

TIMEOUT_S: Final = 30.0
_PERMANENT: Final = 500
"""RFC 5321, section 4.2.1: a reply of 5xx is final, one of 4xx is not."""


@dataclass(frozen=True, slots=True)
class SmtpOptions:
    """``tls``: from the beginning, by STARTTLS (refused without it), or none."""

    host: str
    port: int
    sender: str
    tls: Literal["tls", "starttls", "none"] = "starttls"
    user: str = ""
    password: str = ""
    ca_file: str = ""
    attachments_bytes_max: int = 10 * 1024 * 1024
    """Of one mail, before they are written in base64, which makes them a third larger."""


class SmtpChannel:
    """One mail server. Each message goes on a connection of its own: they are few, and servers end idle ones."""

    def __init__(self, options: SmtpOptions) -> None:
        self._options = options

    async def send(self, message: Message) -> Sequence[NotTold]:
        """See ``Channel``."""
        size_bytes = sum(len(one.content) for one in message.attachments)
        if len(message.attachments) > ATTACHMENTS_MAX or size_bytes > self._options.attachments_bytes_max:
            why = f"{len(message.attachments)} files of {size_bytes} bytes are more than a mail takes along"
            raise CallRefused(why, "too_large")
        try:
            mail = _mail(message, self._options.sender)
        except (ValueError, LookupError) as exc:  # such as an address that is none
            raise CallRefused(f"it cannot be written as a mail: {exc}") from exc
        try:
            return await self._sent(mail)
        except aiosmtplib.SMTPAuthenticationError as exc:
            raise AccessRefused(f"the mail server does not take the login: {_reason(exc)}") from exc
        except aiosmtplib.SMTPRecipientsRefused as exc:
            codes = [one.code for one in exc.recipients]
            why = f"the mail server does not take the recipients: {_reason(exc.recipients[0])}"
            raise CallRefused(why) if all(code >= _PERMANENT for code in codes) else VendorUnavailable(why) from exc
        except aiosmtplib.SMTPResponseException as exc:
            why = f"the mail server refuses: {exc.code} {_reason(exc)}"
            raise CallRefused(why) if exc.code >= _PERMANENT else VendorUnavailable(why) from exc
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPReadTimeoutError) as exc:
            raise CallUncertain(f"the mail server has gone away: {_reason(exc)}") from exc
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise VendorUnavailable(f"the mail server cannot be reached: {_reason(exc)}") from exc

    async def close(self) -> None:
        """See ``Channel``."""

    async def _sent(self, mail: EmailMessage) -> list[NotTold]:
        options = self._options
        context = None if options.tls == "none" else ssl.create_default_context(cafile=options.ca_file or None)
        refused, _ = await aiosmtplib.send(
            mail,
            hostname=options.host,
            port=options.port,
            username=options.user or None,
            password=options.password or None,
            use_tls=options.tls == "tls",
            start_tls=options.tls == "starttls",
            tls_context=context,
            timeout=TIMEOUT_S,
        )
        return [NotTold(to, f"{one.code} {one.message}"[:500], one.code >= _PERMANENT) for to, one in refused.items()]


def _mail(message: Message, sender: str) -> EmailMessage:
    """The mail: plain text and HTML as alternatives, files behind both (RFC 2046, sections 5.1.3 and 5.1.4)."""
    mail = EmailMessage()
    name, address = parseaddr(sender)
    mail["From"] = formataddr((_one_line(message.sender_name) or name, address))
    mail["To"] = ", ".join(message.recipients)
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = formatdate()
    domain = sender.rpartition("@")[2].strip("> ") or "lineside"
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for one in message.attachments:
        kind, _, subtype = one.media_type.partition(";")[0].partition("/")
        mail.add_attachment(one.content, maintype=kind, subtype=subtype or "octet-stream", filename=one.name)
    return mail


def _one_line(text: str) -> str:
    """A header has no line breaks (RFC 5322, section 2.2), whatever somebody has called a thing."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _reason(error: object) -> str:
    return str(getattr(error, "message", "") or error)[:500]
