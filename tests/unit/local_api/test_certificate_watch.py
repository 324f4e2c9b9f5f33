"""Certificates that end soon are told of in time, once a day, with what to do; others are only known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.trust.certificates import thumbprint_of
from connectors.trust.store import SeenServer, TrustStore
from edge_agent.local_api import certificate_watch
from edge_agent.local_api.certificate_watch import CertificatePlaces, CertificateWatch
from tests.unit.trust.made_certificates import NOW, certificate, der, pem

ENDPOINT = "opc.tcp://press.plant:4840"
DAY_S = 86_400


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_ns(self) -> int:
        return round((NOW.timestamp() + self.passed_s) * 1e9)

    def monotonic_s(self) -> float:
        return self.passed_s


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(certificate_watch, "emit", found.append)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent whose own certificate ends in 400 days, that of its server in 10, and that of a user has ended."""
    folder = tmp_path / "opcua"
    store = TrustStore(folder)
    server = der(certificate(days=(-10, 10)))
    store.keep_rejected(server)
    store.accept(thumbprint_of(server))
    store.note(SeenServer("press", ENDPOINT, thumbprint_of(server), accepted=thumbprint_of(server)))
    (folder / "own.der").write_bytes(der(certificate("own", days=(-1, 400))))
    (tmp_path / "user.pem").write_bytes(pem(certificate("user", days=(-9, -2))) + pem(certificate("CA")))
    return folder


def places(folder: Path) -> CertificatePlaces:
    return CertificatePlaces(folder, (ENDPOINT,), {folder.parent / "user.pem": "the user for press"})


async def test_what_ends_soon_is_told_with_what_to_do_soonest_first(folder: Path, told: list[Any]) -> None:
    watch = CertificateWatch(Clock())
    await watch.look(places(folder))
    shown = watch.to_json()
    assert [(each["whose"], each["days_left"]) for each in shown] == [("file", -2), ("server", 10), ("own", 400)]
    assert f"the user for press ({folder.parent / 'user.pem'}) has expired (2030-05-30T" in shown[0]["problem"]
    assert "the certificate of press (opc.tcp://press.plant:4840) ends in 10 days" in shown[1]["problem"]
    assert "renew it on the server" in shown[1]["problem"]
    assert shown[2]["problem"] == ""
    assert [event.reason for event in told] == [shown[0]["problem"], shown[1]["problem"]]


async def test_it_is_told_again_each_day_and_not_more_often(folder: Path, told: list[Any]) -> None:
    clock = Clock()
    watch, where = CertificateWatch(clock), places(folder)
    for _ in range(24 * 6):
        await watch.look(where)
        clock.passed_s += 600
    assert len(told) == 2
    await watch.look(where)
    assert len(told) == 4
    assert told[3].days_left == 9


async def test_a_certificate_that_was_replaced_is_told_no_more(folder: Path, told: list[Any]) -> None:
    clock = Clock()
    watch, where = CertificateWatch(clock), places(folder)
    await watch.look(where)
    (folder.parent / "user.pem").write_bytes(pem(certificate("user", days=(-1, 300))))
    clock.passed_s = DAY_S
    await watch.look(where)
    assert [event.what for event in told[2:]] == ["the certificate of press (opc.tcp://press.plant:4840)"]


async def test_files_are_looked_at_only_from_time_to_time(folder: Path, told: list[Any]) -> None:
    clock = Clock()
    watch, where = CertificateWatch(clock), places(folder)
    await watch.look(where)
    (folder / "own.der").unlink()
    clock.passed_s = 2
    await watch.look(where)
    assert len(watch.to_json()) == 3
    await watch.look(places(folder))  # the configuration is another
    assert len(watch.to_json()) == 2
    del told


async def test_what_no_device_uses_any_more_or_nobody_can_read_is_left_out(folder: Path, told: list[Any]) -> None:
    (folder.parent / "user.pem").write_text("nothing")
    watch = CertificateWatch(Clock())
    await watch.look(CertificatePlaces(folder, (), {folder.parent / "user.pem": "a", folder / "none": "b"}))
    assert [each["whose"] for each in watch.to_json()] == ["own"]
    assert told == []


async def test_an_agent_without_certificates_knows_none(tmp_path: Path) -> None:
    watch = CertificateWatch(Clock())
    await watch.look(CertificatePlaces(tmp_path / "none"))
    assert watch.to_json() == []
