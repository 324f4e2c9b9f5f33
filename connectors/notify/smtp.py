"""E-mail by SMTP (RFC 5321), with TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Literal

import aiosmtplib

from connectors.ports.notify import Message
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


class SmtpChannel:
    """One mail server. Each message goes on a connection of its own: they are few, and servers end idle ones."""

    def __init__(self, options: SmtpOptions) -> None:
        self._options = options

    async def send(self, message: Message) -> None:
        """See ``Channel``."""
        try:
            await self._sent(_mail(message, self._options.sender))
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

    async def _sent(self, mail: EmailMessage) -> None:
        options = self._options
        context = None if options.tls == "none" else ssl.create_default_context(cafile=options.ca_file or None)
        await aiosmtplib.send(
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


def _mail(message: Message, sender: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(message.recipients)
    mail["Subject"] = message.subject
    mail["Date"] = formatdate()
    domain = sender.rpartition("@")[2].strip("> ") or "lineside"
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail


def _reason(error: object) -> str:
    return str(getattr(error, "message", "") or error)[:500]
