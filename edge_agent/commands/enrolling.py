"""The first, minimal enrolment: a key pair of the agent's own, a one-time token, and for that the cloud's public keys.

The private key is made here, stands in a file of the data folder that its owner alone may read, and goes nowhere. It
is on the disk before the cloud hears of it, under another name, so that a request whose answer was lost is asked again
with the same key; the cloud then gives the same answer.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from connectors.commands.enrolment import PATH, TOKEN_PREFIX, EnrolmentAnswer, check_answer, sealed_request
from connectors.commands.reports import read_record
from connectors.commands.signing import SigningKey
from connectors.configuration.durable_files import sync_folder, write_new_file
from connectors.model.errors import LinesideError, PayloadInvalid
from edge_agent.commands.own_key import KEY_FILE
from edge_agent.commands.pinned_keys import write_pinned_keys

TIME_OUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 256 * 1024
KEY_BYTES_MAX: Final = 10_000
DETAIL_CHARS_MAX: Final = 500
_CREATED: Final = 201
_KEY_IS_OVER: Final = "key_known"


class EnrolmentFailed(LinesideError):
    """Nothing has changed in what the agent trusts; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cloud is; ``address`` is as a person would write it."""

    address: str
    host: str
    port: int
    path: str
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who the agent is now: the id of its own key, and those of the cloud's keys that it trusts."""

    key_id: str
    trusted: tuple[str, ...]


def place_of(url: str, *, insecure: bool) -> Place:
    """Where ``url`` leads. Raises ``EnrolmentFailed``, also for http unless ``insecure``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise EnrolmentFailed(f"{url!r} is not an address: {exc}") from exc
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise EnrolmentFailed(f"{url!r} is not the address of a cloud; write it as https://cloud.example")
    if parts.username is not None or parts.query or parts.fragment:
        raise EnrolmentFailed(f"the address has more than a host, a port and a path: {parts.hostname!r} is enough")
    is_plain = parts.scheme == "http"
    if is_plain and not insecure:
        raise EnrolmentFailed(
            "without https anybody on the way could read the token, and have the agent trust keys of their own: "
            "write https://…, or add --insecure where nobody else is on the network"
        )
    port = port or (80 if is_plain else 443)
    return Place(url, parts.hostname, port, parts.path.rstrip("/") + PATH, is_plain)


def enrol(place: Place, token: str, *, agent: str, data_dir: Path, keys_file: Path, ca_file: Path | None) -> Enrolled:
    """Enrol ``agent`` (group/name) at ``place``, and pin the cloud's keys in ``keys_file``.

    Raises ``EnrolmentFailed``.
    """
    if not token.startswith(TOKEN_PREFIX) or not token.isascii() or not token.isprintable():
        raise EnrolmentFailed(f"this is no token for an enrolment, which begins with {TOKEN_PREFIX!r}")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        key = _pending_key(data_dir / f"{KEY_FILE}.new")
        answer = _ask(place, sealed_request(key, token, agent), ca_file, data_dir)
        try:
            trusted = check_answer(answer, agent, key.key_id)
        except PayloadInvalid as exc:
            raise EnrolmentFailed(f"the answer of {place.address} cannot be used, nothing is trusted: {exc}") from exc
        write_pinned_keys(keys_file, answer.keys)
        (data_dir / f"{KEY_FILE}.new").replace(data_dir / KEY_FILE)
        sync_folder(data_dir)
    except OSError as exc:
        where = exc.filename or data_dir
        raise EnrolmentFailed(f"{where} cannot be read or written: {exc.strerror or exc}") from exc
    return Enrolled(key.key_id, trusted.ids)


def _pending_key(path: Path) -> SigningKey:
    """The key of an enrolment whose answer did not come, or a new one, in the file ``path``. Raises ``OSError``."""
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_mode & 0o077:
                return SigningKey.from_jwk(json.loads(file.read(KEY_BYTES_MAX)))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError):
        pass  # a disk that was full, or lost its power: what is in it was never enrolled
    path.unlink(missing_ok=True)
    key = SigningKey.generate()
    write_new_file(path, json.dumps(key.to_jwk()).encode(), mode=0o600)
    return key


def _ask(place: Place, sealed: str, ca_file: Path | None, data_dir: Path) -> EnrolmentAnswer:
    status, body = _post(place, json.dumps({"request": sealed}).encode(), ca_file)
    if status != _CREATED:
        code, detail = _problem(body)
        if code == _KEY_IS_OVER:
            (data_dir / f"{KEY_FILE}.new").unlink(missing_ok=True)
        raise EnrolmentFailed(_refusal(place, status, code, detail))
    try:
        return read_record(EnrolmentAnswer, body)
    except PayloadInvalid as exc:
        raise EnrolmentFailed(f"{place.address} does not answer as Lineside's cloud does: {exc}") from exc


def _post(place: Place, body: bytes, ca_file: Path | None) -> tuple[int, bytes]:
    """The status and body of the answer; redirections are not followed, and no proxy of the environment is used."""
    connection: http.client.HTTPConnection
    try:
        if place.is_plain:
            connection = http.client.HTTPConnection(place.host, place.port, timeout=TIME_OUT_S)
        else:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
            connection = http.client.HTTPSConnection(place.host, place.port, timeout=TIME_OUT_S, context=context)
    except (ssl.SSLError, OSError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise EnrolmentFailed(f"the certificates in {ca_file} cannot be used: {reason}") from exc
    except (http.client.InvalidURL, ValueError) as exc:
        raise EnrolmentFailed(f"{place.address!r} is not an address: {exc}") from exc
    try:
        connection.request("POST", place.path, body, {"Content-Type": "application/json", "Accept": "application/json"})
        with connection.getresponse() as answer:
            status, found = answer.status, answer.read(ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise EnrolmentFailed(_away(place, exc)) from exc
    finally:
        connection.close()
    if len(found) > ANSWER_BYTES_MAX:
        raise EnrolmentFailed(f"{place.address} answers with more than {ANSWER_BYTES_MAX:,} bytes")
    return status, found


def _away(place: Place, error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {place.host} is not trusted ({error.verify_message}): name the file of the "
                "authority that has issued it with --ca, or the host as its certificate has it"
            )
        case ssl.SSLError():
            return f"{place.address} does not speak TLS as it should: {error.reason or error}"
        case socket.gaierror():
            return f"the name {place.host} is not known: {error.strerror}"
        case TimeoutError():
            return f"{place.address} has not answered within {TIME_OUT_S:.0f} s; ask again with the same token"
        case ConnectionRefusedError():
            return f"nobody listens at {place.host} port {place.port}: is the cloud running, with the role gateway?"
        case OSError():
            return f"{place.address} cannot be reached: {error.strerror or error}"
        case _:
            return f"{place.address} does not answer as a web server does: {error!r}"


def _problem(body: bytes) -> tuple[str, str]:
    """The code and the sentence of an error (RFC 9457), as far as it is one."""
    try:
        document = json.loads(body)
        code, detail = str(document.get("code", "")), str(document.get("detail", ""))
    except (ValueError, AttributeError, RecursionError):
        return "", ""
    return code, "".join(char if char.isprintable() else " " for char in detail)[:DETAIL_CHARS_MAX]


def _refusal(place: Place, status: int, code: str, detail: str) -> str:
    if 300 <= status < 400:
        return f"{place.address} sends one to another address ({status}): name that one"
    if not detail:
        return f"{place.address} has no enrolment of agents (status {status}): is it the address of Lineside's cloud?"
    return f"the cloud does not enrol this agent: {detail}" + (f" ({code})" if code else "")
