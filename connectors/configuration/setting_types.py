"""Settings that both programs have: Sparkplug ids, file names, hosts, addresses of brokers."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from connectors.ports.settings import SettingInvalid
from connectors.sparkplug.topics import id_problem

FOLDER_IN_CONTEXT: Final = "folder"
"""The key of the configuration file's folder (a ``Path``) in the context of a validation."""
_HOST: Final = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+(?:%\w+)?\])"
_HOST_ALONE: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HOST_AND_PORT: Final = re.compile(r"(?:\w+://)?[^:/@]+:\d+")
_BROKER: Final = re.compile(rf"(mqtts?)://{_HOST}(?::(\d{{1,5}}))?/?")
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


def _broker_url(url: str) -> str:
    found = _BROKER.fullmatch(url)
    if found is not None and (found[2] is None or 0 < int(found[2]) < 65_536):
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
DataPath = Annotated[Path, BeforeValidator(_relative_path), WithJsonSchema({"type": "string", "minLength": 1})]
HostName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_host_name)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
