"""``check`` names a certificate or key that cannot be used, with its place; ``run`` starts all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from lineside.servers.throwaway_authority import IssuedCertificate, ThrowawayAuthority

from connectors.configuration.tls_files import TlsFileUnusable, client_context
from connectors.model.errors import ConfigInvalid
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

CONFIG = """\
agent: {group: plant-7, name: line-3}
uplink:
  brokers: [mqtts://broker:8883]
  ca_file: ca.pem
  cert_file: line.pem
  key_file: line.key
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayAuthority:
    return ThrowawayAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def own(authority: ThrowawayAuthority) -> IssuedCertificate:
    return authority.issue("line")


@pytest.fixture(autouse=True)
def _here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: ThrowawayAuthority, own: IssuedCertificate
) -> None:
    """A folder in which everything is right."""
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_bytes(authority.certificate.read_bytes())
    Path("line.pem").write_bytes(own.certificate.read_bytes())
    Path("line.key").write_bytes(own.key.read_bytes())
    Path("agent.yaml").write_text(CONFIG)


def checked() -> list[str]:
    """What a check says of ``agent.yaml``."""
    try:
        load_config(Path("agent.yaml"), built_in_drivers(), environ={}, files_checked=True)
    except ConfigInvalid as exc:
        return [str(problem).replace(f"{Path.cwd()}/", "") for problem in exc.problems]
    return []


def test_files_that_are_right_are_no_problem() -> None:
    assert checked() == []


def test_each_file_that_is_not_there_is_named_with_its_place() -> None:
    Path("ca.pem").unlink()
    Path("line.key").unlink()
    advice = "cannot be read: No such file or directory. Check the path, or put the file there."
    assert checked() == [
        f"agent.yaml:4:12: 'ca_file' of 'uplink': the file 'ca.pem' {advice}",
        f"agent.yaml:6:13: 'key_file' of 'uplink': the file 'line.key' {advice}",
    ]
    config = load_config(Path("agent.yaml"), built_in_drivers(), environ={})
    assert config.uplink.ca_file == Path("ca.pem"), "an agent that runs acquires, and waits for its certificate"


def test_a_file_that_may_not_be_read_says_by_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(path: Path, *rest: object, **more: object) -> object:
        if path.name == "line.key":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert checked() == [
        "agent.yaml:6:13: 'key_file' of 'uplink': the file 'line.key' cannot be read: Permission denied. "
        "This runs as user id 4711: let that user read the file, or run it as another one."
    ]


def test_a_secret_file_that_is_not_there_is_named_with_its_place() -> None:
    Path("agent.yaml").write_text(CONFIG + "  user: me\n  password: ${file:broker.secret}\n")
    assert checked() == [
        "agent.yaml:8:13: 'password' of 'uplink': the file 'broker.secret' cannot be read: No such file or directory."
    ]


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CASES = {
    "a folder": ("ca.pem", _folder, "4:12: 'ca_file'", "'ca.pem' is not a file. Write the path of a file."),
    "empty": ("ca.pem", lambda path: path.write_text(""), "4:12: 'ca_file'", "the file 'ca.pem' is empty."),
    "no authority": (
        "ca.pem",
        lambda path: path.write_text("hello\n"),
        "4:12: 'ca_file'",
        "the file 'ca.pem' holds no certificate of an authority. Name a PEM file with BEGIN CERTIFICATE in it.",
    ),
    "no certificate": (
        "line.pem",
        lambda path: path.write_bytes(Path("line.key").read_bytes()),
        "5:14: 'cert_file'",
        "the file 'line.pem' holds no certificate. Name a PEM file with BEGIN CERTIFICATE in it.",
    ),
    "no key": (
        "line.key",
        lambda path: path.write_bytes(Path("line.pem").read_bytes()),
        "6:13: 'key_file'",
        "the file 'line.key' holds no private key. Name a PEM file with BEGIN PRIVATE KEY in it.",
    ),
}


@pytest.mark.parametrize(("name", "spoil", "place", "what"), CASES.values(), ids=CASES.keys())
def test_a_file_of_another_kind_is_named(name: str, spoil: object, place: str, what: str) -> None:
    spoil(Path(name))  # type: ignore[operator]
    (said,) = checked()
    assert said.startswith(f"agent.yaml:{place} of 'uplink': {what}")


def test_a_key_of_another_certificate_is_named(authority: ThrowawayAuthority) -> None:
    Path("line.key").write_bytes(authority.issue("other").key.read_bytes())
    assert checked() == [
        "agent.yaml:6:13: 'key_file' of 'uplink': the private key in 'line.key' is not that of the certificate in "
        "'line.pem'. Name the two files that were made together."
    ]


def test_an_encrypted_key_asks_nobody_for_a_passphrase(own: IssuedCertificate) -> None:
    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    Path("line.key").write_bytes(encrypted)
    (said,) = checked()
    assert "the private key in 'line.key' is encrypted, and nobody is there to type its passphrase." in said
    with pytest.raises(TlsFileUnusable, match=r"^key_file: the private key in '/.*/line\.key' is encrypted"):
        client_context(Path("ca.pem"), Path("line.pem"), Path("line.key"))
