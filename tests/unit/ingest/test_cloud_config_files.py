"""Files for TLS that cannot be used are found before anything is connected: which file, and where it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from lineside.servers.throwaway_authority import ThrowawayAuthority

from cloud_ingest.config import ROLES, Role, check_files, load_cloud_config
from connectors.model.errors import ConfigInvalid

PLAIN = "ingest: {brokers: [mqtts://b]}\ndatabase: {tls: verify-full}\n"
CHECK = "Check the path, or put the file there."


def problems(text: str, folder: Path, roles: tuple[Role, ...] = ROLES) -> list[str]:
    """What is said of the files that ``text`` names."""
    path = folder / "cloud.yaml"
    path.write_text(text)
    config = load_cloud_config(path)
    try:
        check_files(path, config, roles)
    except ConfigInvalid as exc:
        return [str(problem).removeprefix(f"{path}:").replace(str(folder), "") for problem in exc.problems]
    return []


def missing(name: str) -> str:
    return f"the file '/{name}' cannot be read: No such file or directory. {CHECK}"


EVERYWHERE = (
    "ingest: {brokers: [mqtts://b], ca_file: a.pem, cert_file: b.pem, key_file: c.pem}\n"
    "database: {tls: verify-full, ca_file: d.pem}\n"
    "event_log: {kafka: {brokers: [k:1], tls: {authority: e.pem, certificate: f.pem, key: g.pem}}}\n"
    "grpc: {tls: {certificate: h.pem, key: i.pem, clients: j.pem}}\n"
)
AT_DATABASE = f"2:39: 'ca_file' of 'database': {missing('d.pem')}"
AT_KAFKA = [
    f"3:54: 'authority' of 'tls' of 'kafka' of 'event_log': {missing('e.pem')}",
    f"3:74: 'certificate' of 'tls' of 'kafka' of 'event_log': {missing('f.pem')}",
    f"3:86: 'key' of 'tls' of 'kafka' of 'event_log': {missing('g.pem')}",
]
AT_GRPC = [
    f"4:27: 'certificate' of 'tls' of 'grpc': {missing('h.pem')}",
    f"4:39: 'key' of 'tls' of 'grpc': {missing('i.pem')}",
    f"4:55: 'clients' of 'tls' of 'grpc': {missing('j.pem')}",
]


def test_every_file_that_is_missing_is_named_with_its_place(tmp_path: Path) -> None:
    assert problems(EVERYWHERE, tmp_path) == [
        f"1:41: 'ca_file' of 'ingest': {missing('a.pem')}",
        f"1:59: 'cert_file' of 'ingest': {missing('b.pem')}",
        f"1:76: 'key_file' of 'ingest': {missing('c.pem')}",
        AT_DATABASE,
        *AT_KAFKA,
        *AT_GRPC,
    ]


def test_a_process_needs_the_files_of_its_roles_only(tmp_path: Path) -> None:
    assert problems(EVERYWHERE, tmp_path, ()) == [AT_DATABASE]
    assert problems(EVERYWHERE, tmp_path, ("gateway",)) == [AT_DATABASE, *AT_KAFKA, *AT_GRPC]
    assert problems(EVERYWHERE, tmp_path, ("historian",)) == [AT_DATABASE, *AT_KAFKA]


def test_the_role_that_signs_needs_its_key(tmp_path: Path) -> None:
    text = f"{PLAIN}commands: {{signing_key: key.jwk}}\n"
    (found,) = problems(text, tmp_path)
    assert found.startswith("3:25: 'signing_key' of 'commands': the file '/key.jwk' cannot be read")
    assert "cloud-ingest keys create" in found
    assert problems(text, tmp_path, ("gateway", "ingest", "historian")) == []
    (tmp_path / "key.jwk").write_text("{}")
    assert problems(text, tmp_path) == []


def test_without_files_nothing_is_missing(tmp_path: Path) -> None:
    assert problems(PLAIN, tmp_path) == []


@pytest.fixture
def usable(tmp_path: Path) -> Path:
    """A folder with an authority, a certificate with its key, both in one file, and the key of another."""
    authority = ThrowawayAuthority(tmp_path / "authority")
    own, other = authority.issue("client"), authority.issue("other")
    (tmp_path / "ca.pem").write_bytes(authority.certificate.read_bytes())
    (tmp_path / "own.pem").write_bytes(own.certificate.read_bytes())
    (tmp_path / "own.key").write_bytes(own.key.read_bytes())
    (tmp_path / "both.pem").write_bytes(own.certificate.read_bytes() + own.key.read_bytes())
    (tmp_path / "other.key").write_bytes(other.key.read_bytes())
    (tmp_path / "text.pem").write_text("not a certificate\n")
    return tmp_path


def of(ca: str = "ca.pem", cert: str = "own.pem", key: str = "own.key", kafka: str = "certificate: both.pem") -> str:
    return (
        f"ingest: {{brokers: [mqtts://b], ca_file: {ca}, cert_file: {cert}, key_file: {key}}}\n"
        "database: {tls: verify-ca, ca_file: ca.pem}\n"
        f"event_log: {{kafka: {{brokers: [k:1], tls: {{authority: ca.pem, {kafka}}}}}}}\n"
    )


def test_files_that_fit_are_not_complained_about(usable: Path) -> None:
    assert problems(of(), usable) == []
    assert problems(of(kafka="certificate: own.pem, key: own.key"), usable) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (of(ca="text.pem"), "1:41: 'ca_file' of 'ingest': the file '/text.pem' holds no certificate of an authority."),
        (of(cert="text.pem"), "1:60: 'cert_file' of 'ingest': the file '/text.pem' holds no certificate."),
        (of(key="other.key"), "1:79: 'key_file' of 'ingest': the private key in '/other.key' is not that of the"),
        (of(key="ca.pem"), "1:79: 'key_file' of 'ingest': the file '/ca.pem' holds no private key."),
        (of(ca="."), "1:41: 'ca_file' of 'ingest': '' is not a file."),
        (
            of(kafka="certificate: own.pem, key: other.key"),
            "3:89: 'key' of 'tls' of 'kafka' of 'event_log': the private key in '/other.key' is not that",
        ),
        (
            of(kafka="certificate: own.pem"),
            "3:75: 'certificate' of 'tls' of 'kafka' of 'event_log': the file '/own.pem' holds no private key.",
        ),
    ],
)
def test_a_file_that_is_none_of_its_kind_is_named(usable: Path, text: str, expected: str) -> None:
    (found,) = problems(text, usable)
    assert found.startswith(expected)
