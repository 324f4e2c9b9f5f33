"""Which certificates of servers are taken, which are refused and why, and what is only said of them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.trust.certificates import CertificateUnusable, read_chain, thumbprint_of
from connectors.trust.judging import Issuers, Judgement, judge
from tests.unit.trust.made_certificates import (
    HOST,
    NOW_S,
    URI,
    authority,
    certificate,
    der,
    issued,
    key,
    revocations,
)


def judged(*chain: x509.Certificate, accepted: bool = True, **more: Any) -> Judgement:
    defaults: dict[str, Any] = {"issuers": Issuers(), "application_uri": URI, "host": HOST, "now_s": NOW_S}
    return judge(chain, accepted=accepted, **{**defaults, **more})


def test_what_a_person_has_accepted_is_taken_without_a_word() -> None:
    found = judged(certificate())
    assert (found.refusals, found.warnings, found.untrusted) == ((), (), False)


def test_what_nobody_has_accepted_is_not() -> None:
    found = judged(certificate(), accepted=False)
    assert found.untrusted
    assert found.refusals == ()


def test_it_counts_when_a_trusted_authority_has_issued_it() -> None:
    plant = authority()
    found = judged(issued(issuer=plant), accepted=False, issuers=Issuers([plant], [revocations(issuer=plant)]))
    assert (found.refusals, found.warnings, found.untrusted) == ((), (), False)


def test_an_authority_between_may_come_with_the_certificate() -> None:
    root = authority("root")
    between = authority("between", issuer=root, issuer_key=key("root"))
    press = issued("between", between)
    assert not judged(press, between, accepted=False, issuers=Issuers([root])).untrusted
    assert judged(press, accepted=False, issuers=Issuers([root])).untrusted


def test_an_authority_of_the_same_name_with_another_key_does_not_count() -> None:
    theirs = authority("plant CA", own_key=key("another"))
    assert judged(issued(), accepted=False, issuers=Issuers([theirs])).untrusted


def test_an_issuer_that_may_not_issue_refuses_it() -> None:
    no_authority = certificate("plant CA")
    found = judged(issued(issuer=no_authority), accepted=False, issuers=Issuers([no_authority]))
    assert any("may not issue certificates" in text for text in found.refusals)


def test_what_its_issuer_has_revoked_is_refused() -> None:
    plant = authority()
    press = issued(issuer=plant)
    revoked = revocations(press.serial_number, issuer=plant)
    found = judged(press, accepted=False, issuers=Issuers([plant], [revoked]))
    assert any("has revoked CN=press" in text for text in found.refusals)


def test_a_revocation_list_that_somebody_else_has_signed_does_not_count() -> None:
    plant = authority()
    press = issued(issuer=plant)
    forged = revocations(press.serial_number, by="another", issuer=plant)
    found = judged(press, accepted=False, issuers=Issuers([plant], [forged]))
    assert found.refusals == ()
    assert any("there is no revocation list" in text for text in found.warnings)


def test_a_revocation_list_that_is_overdue_is_said() -> None:
    plant = authority()
    old = revocations(issuer=plant, due_days=-1)
    found = judged(issued(issuer=plant), accepted=False, issuers=Issuers([plant], [old]))
    assert found.refusals == ()
    assert any("was to be replaced by 2030-05-31" in text for text in found.warnings)


@pytest.mark.parametrize(("days", "word"), [((-10, -1), "has expired"), ((1, 10), "is valid from")])
def test_a_line_does_not_stop_at_midnight_for_a_certificate_that_was_accepted_itself(
    days: tuple[int, int], word: str
) -> None:
    found = judged(certificate(days=days))
    assert found.refusals == ()
    assert any(word in text for text in found.warnings)


def test_of_what_nobody_has_accepted_the_time_is_only_said_as_accepting_it_would_help() -> None:
    found = judged(certificate(days=(-10, -1)), accepted=False)
    assert found.untrusted
    assert found.refusals == ()
    assert any("has expired" in text for text in found.warnings)


def test_a_time_that_is_over_refuses_what_counts_for_its_issuer_alone_unless_it_is_allowed() -> None:
    plant = authority()
    press = issued(issuer=plant, days=(-10, -1))
    assert any("it has expired" in text for text in judged(press, accepted=False, issuers=Issuers([plant])).refusals)
    allowed = judged(press, accepted=False, issuers=Issuers([plant]), allowed=frozenset({"expired"}))
    assert allowed.refusals == ()
    assert any("it has expired" in text for text in allowed.warnings)


def test_an_issuer_that_has_expired_is_named() -> None:
    plant = authority(days=(-10, -1))
    found = judged(issued(issuer=plant), accepted=False, issuers=Issuers([plant]))
    assert any("its issuer CN=plant CA has expired" in text for text in found.refusals)


def test_a_certificate_of_another_application_is_refused_unless_it_is_allowed() -> None:
    press = certificate(uri="urn:acme:other")
    assert any(
        "for the application urn:acme:other, and the server calls itself urn:acme:press" in text
        for text in judged(press).refusals
    )
    assert judged(press, allowed=frozenset({"application_uri"})).refusals == ()


def test_the_application_is_not_judged_where_nobody_has_asked_the_server() -> None:
    assert judged(certificate(uri="urn:acme:other"), application_uri=None).refusals == ()


def test_a_host_that_it_does_not_name_is_only_said() -> None:
    found = judged(certificate(), host="10.0.0.7")
    assert found.refusals == ()
    assert any("it names press.plant, and not 10.0.0.7" in text for text in found.warnings)


def test_a_use_that_is_ruled_out_refuses_it_where_that_is_critical() -> None:
    uses = ("digital_signature",)
    assert any("keyEncipherment" in text for text in judged(certificate(uses=uses)).refusals)
    said = judged(certificate(uses=uses, critical=False))
    assert said.refusals == ()
    assert any("keyEncipherment" in text for text in said.warnings)


def test_keys_that_no_policy_takes_are_refused_even_when_accepted() -> None:
    short = certificate(own_key=key("short", 1024))
    assert any("1024 bits" in text for text in judged(short).refusals)
    curve = certificate(own_key=ec.generate_private_key(ec.SECP256R1()))
    assert any("not for RSA" in text for text in judged(curve).refusals)


def test_a_chain_is_taken_apart_and_what_is_cut_off_is_refused() -> None:
    press, plant = certificate(), authority()
    assert [thumbprint_of(der(each)) for each in read_chain(der(press) + der(plant))] == [
        thumbprint_of(der(press)),
        thumbprint_of(der(plant)),
    ]
    for broken in (b"", b"0", der(press)[:-1], der(press) + b"\x01", b"\x30\x84\xff\xff\xff\xff", der(press) * 11):
        with pytest.raises(CertificateUnusable):
            read_chain(broken)
