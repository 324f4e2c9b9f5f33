"""The trust list as files: what people accept counts, whatever else happens to the folder."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.trust import store as module
from connectors.trust.certificates import CertificateUnusable, thumbprint_of
from connectors.trust.issuer_files import read_issuers
from connectors.trust.store import SeenServer, TrustStore
from tests.unit.trust.made_certificates import authority, certificate, der, pem, revocations

ENDPOINT = "opc.tcp://press.plant:4840"


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "data" / "opcua")


def seen(thumbprint: str, **more: object) -> SeenServer:
    return SeenServer(device="press", endpoint=ENDPOINT, thumbprint=thumbprint, **more)  # type: ignore[arg-type]


def test_what_was_refused_waits_until_a_person_accepts_it(store: TrustStore) -> None:
    press = der(certificate())
    store.keep_rejected(press)
    assert not store.is_accepted(press)
    assert [entry.state for entry in store.entries()] == ["rejected"]
    assert store.accept(thumbprint_of(press)[:8].lower()).state == "trusted"
    assert store.is_accepted(press)
    assert [entry.state for entry in store.entries()] == ["trusted"]
    store.reject(thumbprint_of(press))
    assert not store.is_accepted(press)


def test_only_the_very_bytes_are_accepted_whatever_the_file_is_called(store: TrustStore) -> None:
    press, other = der(certificate()), der(certificate())
    store.keep_rejected(press)
    path = store.accept(thumbprint_of(press)).path
    path.write_bytes(other)
    assert not store.is_accepted(press)
    assert not store.is_accepted(other)


def test_a_thumbprint_may_be_written_with_colons_and_must_say_which(
    store: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    press = der(certificate())
    store.keep_rejected(press)
    digits = thumbprint_of(press)
    assert store.entry(":".join(digits[at : at + 2] for at in range(0, 40, 2))).facts.thumbprint == digits
    for wrong in ("", "12345", "press!", "../../etc"):
        with pytest.raises(CertificateUnusable, match="not a thumbprint"):
            store.entry(wrong)
    with pytest.raises(CertificateUnusable, match="there is no certificate"):
        store.entry("0" * 40)
    monkeypatch.setattr(module, "THUMBPRINT_DIGITS_MIN", 1)
    for number in range(16):  # of 17 thumbprints two begin with the same digit
        store.keep_rejected(der(certificate(hosts=(f"host{number}",))))
    first = Counter(entry.facts.thumbprint[0] for entry in store.entries()).most_common(1)[0][0]
    with pytest.raises(CertificateUnusable, match="several"):
        store.entry(first)


@pytest.mark.parametrize("content", [der, pem])
def test_a_certificate_can_be_accepted_from_a_file_before_its_server_was_seen(
    store: TrustStore, tmp_path: Path, content: object
) -> None:
    press = certificate()
    (tmp_path / "press.crt").write_bytes(content(press))  # type: ignore[operator]
    store.keep_rejected(der(press))
    store.accept_file(tmp_path / "press.crt")
    assert store.is_accepted(der(press))
    assert [entry.state for entry in store.entries()] == ["trusted"]


def test_a_server_that_shows_others_each_time_fills_no_disk(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REJECTED_MAX", 2)
    for number in range(4):
        store.keep_rejected(der(certificate(hosts=(f"host{number}",))))
    assert len(store.entries()) == 2


def test_it_is_known_when_a_server_shows_another_certificate(store: TrustStore) -> None:
    store.note(seen("AA" * 20, accepted="AA" * 20))
    assert not store.server(ENDPOINT).has_changed  # type: ignore[union-attr]
    store.note(seen("BB" * 20, accepted="AA" * 20))
    assert store.server(ENDPOINT).has_changed  # type: ignore[union-attr]


def test_what_is_seen_again_is_not_written_again(store: TrustStore) -> None:
    store.note(seen("AA" * 20, time_ms=1))
    store.note(seen("AA" * 20, time_ms=2))
    assert store.server(ENDPOINT).time_ms == 1  # type: ignore[union-attr]


def test_devices_that_connect_side_by_side_do_not_get_in_each_other_s_way(store: TrustStore) -> None:
    press = der(certificate())

    def connect(number: int) -> None:
        store.note(seen(f"{number:040X}"))
        store.keep_rejected(press)
        store.accept_file(path)

    path = store.folder.parent / "press.der"
    path.parent.mkdir(parents=True)
    path.write_bytes(press)
    with ThreadPoolExecutor(8) as devices:
        assert list(devices.map(connect, range(80))) == [None] * 80
    assert store.is_accepted(press)
    assert len(list(store.servers())) == 1
    assert not list(store.folder.rglob("*.new"))


def test_a_file_that_is_damaged_hides_no_other(store: TrustStore) -> None:
    store.keep_rejected(der(certificate()))
    store.note(seen("AA" * 20))
    (store.folder / "rejected" / "00.der").write_bytes(b"nothing")
    (store.folder / "servers" / "00.json").write_bytes(b"[")
    assert len(store.entries()) == 1
    assert len(list(store.servers())) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateUnusable, match=r"the trust list .* cannot be written"):
        TrustStore(tmp_path / "file" / "opcua").keep_rejected(der(certificate()))


def test_files_of_issuers_may_hold_certificates_and_revocation_lists_as_text_or_not(tmp_path: Path) -> None:
    plant = authority()
    revoked = revocations(issuer=plant)
    (tmp_path / "both.pem").write_bytes(b"of the plant\n" + pem(plant) + pem(revoked))
    (tmp_path / "ca.der").write_bytes(der(plant))
    (tmp_path / "crl.der").write_bytes(der(revoked))
    found = read_issuers([tmp_path / "both.pem", tmp_path / "ca.der", tmp_path / "crl.der"])
    assert (list(found.certificates), list(found.revocation_lists)) == ([plant] * 2, [revoked] * 2)
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(CertificateUnusable, match=r"none\.pem"):
        read_issuers([tmp_path / "none.pem"])
