"""The agent's own key and certificate: made once, kept, nobody else's, and replaced only when a person says so."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from connectors.trust.certificates import CertificateUnusable, der_of, facts_of
from connectors.trust.judging import Issuers, judge
from connectors.trust.own import (
    CERTIFICATE_FILE,
    KEY_FILE,
    application_uri,
    load_pair,
    own_certificate,
    renew_own_certificate,
)
from tests.unit.trust.made_certificates import certificate, der, key, pem

DAY_S = 86_400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("data") / "opcua"
    own_certificate(found, "plant 1/line-1")
    return found


def test_it_is_what_a_server_takes(folder: Path) -> None:
    made = own_certificate(folder, "plant 1/line-1")
    facts = facts_of(made.certificate)
    assert made.application_uri == facts.application_uri
    assert facts.application_uri.endswith(":lineside:plant-1:line-1")
    found = judge(
        [made.certificate], accepted=True, issuers=Issuers(), application_uri=made.application_uri,
        host=facts.hosts[0], now_s=facts.not_before_s + DAY_S,
    )  # fmt: skip
    assert (found.refusals, found.warnings) == ((), ())


def test_it_stays_the_same_whatever_the_box_is_called_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own_certificate(folder, "plant 1/line-1")
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    after = own_certificate(folder, "plant 1/renamed")
    assert der_of(after.certificate) == der_of(before.certificate)
    assert after.application_uri == before.application_uri


def test_nobody_else_can_read_its_key(folder: Path) -> None:
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert (folder / CERTIFICATE_FILE).stat().st_mode & 0o777 == 0o644


def test_two_programs_that_begin_at_once_make_one(tmp_path: Path) -> None:
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(own_certificate(tmp_path / "opcua", "a/b"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({der_of(each.certificate) for each in found}) == 1


def test_a_key_that_a_crash_has_left_alone_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"half")
    (tmp_path / KEY_FILE).chmod(0o600)
    own_certificate(tmp_path, "a/b")


def test_a_new_one_is_made_when_a_person_says_so_and_the_one_before_is_kept(tmp_path: Path) -> None:
    before = own_certificate(tmp_path, "a/b")
    after = renew_own_certificate(tmp_path, "a/b")
    assert after.key.public_key() != before.key.public_key()
    assert (tmp_path / f"{CERTIFICATE_FILE}.before").read_bytes() == der_of(before.certificate)
    assert load_pair(tmp_path / CERTIFICATE_FILE, tmp_path / KEY_FILE).certificate == after.certificate


def written(folder: Path, *, mode: int = 0o600, passphrase: bytes | None = None, name: str = "press") -> Path:
    path = folder / "a.key"
    if passphrase is None:
        from cryptography.hazmat.primitives.serialization import NoEncryption

        encryption: object = NoEncryption()
    else:
        encryption = BestAvailableEncryption(passphrase)
    path.write_bytes(key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))  # type: ignore[arg-type]
    path.chmod(mode)
    return path


def test_a_pair_of_the_plant_s_own_is_taken_with_those_who_issued_it(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(pem(certificate()) + pem(certificate("plant CA")))
    found = load_pair(tmp_path / "a.pem", written(tmp_path))
    assert found.application_uri == "urn:acme:press"
    assert len(found.issuers) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"mode": 0o644}, "others may read or change the key"),
        ({"passphrase": b"secret"}, "is encrypted"),
        ({"name": "another"}, "is not that of"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_with_the_file(
    tmp_path: Path, wrong: dict[str, object], sentence: str
) -> None:
    (tmp_path / "a.der").write_bytes(der(certificate()))
    with pytest.raises(CertificateUnusable, match=sentence):
        load_pair(tmp_path / "a.der", written(tmp_path, **wrong))  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateUnusable, match="file"):
        own_certificate(tmp_path / "file" / "opcua", "a/b")


def test_the_name_of_the_application_is_a_uri_whatever_the_names_are() -> None:
    assert application_uri("Werk 1/Linie/ß", "box 7") == "urn:box-7:lineside:Werk-1:Linie:-"
