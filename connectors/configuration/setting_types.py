"""Settings that both programs have: Sparkplug ids, file names, hosts, ports, addresses of brokers."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from connectors.ports.settings import SettingInvalid
from connectors.sparkplug.topics import id_problem

FOLDER_IN_CONTEXT: Final = "folder"
"""The key of the configuration file's folder (a ``Path``) in the context of a validation."""
FILES_CHECKED_IN_CONTEXT: Final = "files checked"
"""True under this key of the context: files that are to be read have to be there now. Otherwise they may come later."""
PORT_MAX: Final = 65_535
_HOST: Final = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+(?:%\w+)?\])"
_HOST_ALONE: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HOST_AND_PORT: Final = re.compile(r"(?:\w+://)?[^:/@]+:\d+")
_BROKER: Final = re.compile(rf"(mqtts?)://{_HOST}(?::(\d+))?/?")
_SCHEMES: Final = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts"}


def checked_sparkplug_id(text: str) -> str:
    """``text``, when it can be a Sparkplug id. Raises ``ValueError`` with the reason."""
    if problem := id_problem(text):
        raise ValueError(f"{text!r} cannot be used as a Sparkplug id: {problem}")
    return text


def _file_path(value: Any, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get(FOLDER_IN_CONTEXT, Path())
    path = _relative_path(value)
    return folder / path if isinstance(folder, Path) else path


def _relative_path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or any(ord(char) < 32 for char in value):
        raise ValueError(f"{value!r} is not the name of a file or folder; write a path such as /var/lib/lineside")
    return Path(value)


def files_are_checked(info: ValidationInfo) -> bool:
    """Whether files that are to be read have to be there now."""
    return bool((info.context or {}).get(FILES_CHECKED_IN_CONTEXT))


def unreadable(path: Path) -> tuple[str, str] | None:
    """Why the file cannot be read, and what to do, in two sentences; ``None`` when it can."""
    try:
        # Looked at before it is opened: opening a pipe would wait for somebody to write into it.
        if not stat.S_ISREG(path.stat().st_mode):
            return f"{str(path)!r} is not a file.", "Write the path of a file."
        with path.open("rb") as file:
            empty = not file.read(1)
    except PermissionError as exc:
        who = f"This runs as user id {os.geteuid()}: let that user read the file, or run it as another one."
        return f"the file {str(path)!r} cannot be read: {exc.strerror}.", who
    except OSError as exc:
        return f"the file {str(path)!r} cannot be read: {exc.strerror}.", "Check the path, or put the file there."
    return (f"the file {str(path)!r} is empty.", "Put the right file there.") if empty else None


def _input_file(value: Any, info: ValidationInfo) -> Path:
    path = _file_path(value, info)
    if files_are_checked(info) and (found := unreadable(path)) is not None:
        raise SettingInvalid(*found)
    return path


def check_port(address: str, port: str | None) -> None:
    """Raises ``SettingInvalid`` when the ``port`` that ``address`` names cannot exist; none is the protocol's own."""
    if port is not None and not 0 < int(port[:10]) <= PORT_MAX:
        raise SettingInvalid(
            f"{address!r} names a port that does not exist.", f"Write a port from 1 to {PORT_MAX} after the ':'."
        )


def _broker_url(url: str) -> str:
    found = _BROKER.fullmatch(url)
    if found is not None:
        check_port(url, found[2])
        return url.rstrip("/")
    scheme, divider, rest = url.partition("://")
    host = rest if divider else url
    if "@" in host:
        raise SettingInvalid(
            "the address of a broker holds no user and no password.", "Write them under 'user' and 'password'."
        )
    better = f"{_SCHEMES.get(scheme.lower(), 'mqtts') if divider else 'mqtts'}://{host}"
    fits = _BROKER.fullmatch(better) is not None and better != url
    raise SettingInvalid(
        f"{url!r} is not the address of a broker.",
        f"Did you mean {better!r}?" if fits else "Write it as mqtts://host:8883.",
    )


def _host_name(host: str) -> str:
    if _HOST_ALONE.fullmatch(host) is None and not _is_ipv6(host):
        has_port = _HOST_AND_PORT.fullmatch(host) is not None
        raise SettingInvalid(
            f"{host!r} is not the name or address of a host.",
            "Write the port under 'port'." if has_port else "Write it as db.plant-7.example or 10.0.0.5.",
        )
    return host


def _is_ipv6(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).version == 6
    return False


SparkplugId = Annotated[str, AfterValidator(checked_sparkplug_id)]
FilePath = Annotated[Path, BeforeValidator(_file_path), WithJsonSchema({"type": "string", "minLength": 1})]
InputFile = Annotated[Path, BeforeValidator(_input_file), WithJsonSchema({"type": "string", "minLength": 1})]
"""A file that has to be there when it is needed; a check looks whether it is there now."""
DataPath = Annotated[Path, BeforeValidator(_relative_path), WithJsonSchema({"type": "string", "minLength": 1})]
HostName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_host_name)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
