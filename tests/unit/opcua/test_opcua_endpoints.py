"""Which of a server's endpoints is taken: what the device file says, and never one with less."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua

from connectors.opcua.endpoints import POLICY_PREFIX, EndpointUnfit, choose, session_url, stronger_offer
from connectors.opcua.security_settings import OpcUaSecurity, Policy
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource

MODES = {"None": ua.MessageSecurityMode.None_, "Sign": ua.MessageSecurityMode.Sign}
ANYBODY = ua.UserTokenPolicy(PolicyId="anybody", TokenType=ua.UserTokenType.Anonymous)


def password(policy: str = "") -> ua.UserTokenPolicy:
    uri = POLICY_PREFIX + policy if policy else None
    return ua.UserTokenPolicy(PolicyId="password", TokenType=ua.UserTokenType.UserName, SecurityPolicyUri=uri)


def endpoint(policy: str, mode: str = "SignAndEncrypt", *tokens: ua.UserTokenPolicy) -> ua.EndpointDescription:
    return ua.EndpointDescription(
        EndpointUrl="opc.tcp://plc:4840/UA",
        SecurityPolicyUri=POLICY_PREFIX + policy,
        SecurityMode=MODES.get(mode, ua.MessageSecurityMode.SignAndEncrypt),
        UserIdentityTokens=list(tokens or (ANYBODY,)),
    )


def security(**more: Any) -> OpcUaSecurity:
    if "user" in more:
        more["password"] = "${env:PASSWORD}"
    context = {SOURCE_IN_CONTEXT: SecretSource({"PASSWORD": "open sesame"})}
    return OpcUaSecurity.model_validate(more, context=context)


OFFERS = [
    endpoint("None", "None"),
    endpoint("Basic128Rsa15"),
    endpoint("Basic256Sha256", "Sign"),
    endpoint("Basic256Sha256"),
    endpoint("Aes256_Sha256_RsaPss", "Sign"),
]


@pytest.mark.parametrize(
    ("policy", "mode", "taken"),
    [
        (None, "SignAndEncrypt", "Basic256Sha256"),
        (None, "Sign", "Aes256_Sha256_RsaPss"),
        ("Basic256Sha256", "Sign", "Basic256Sha256"),
        ("None", "SignAndEncrypt", "None"),
    ],
)
def test_the_policy_that_is_named_is_taken_or_the_strongest_of_the_mode(
    policy: Policy | None, mode: str, taken: str
) -> None:
    chosen = choose(OFFERS, policy, security(mode=mode))
    assert (chosen.policy, chosen.endpoint.SecurityPolicyUri) == (taken, POLICY_PREFIX + taken)
    assert chosen.mode == chosen.endpoint.SecurityMode


@pytest.mark.parametrize(
    ("offers", "policy", "said"),
    [
        (OFFERS, "Aes256_Sha256_RsaPss", "it offers None, Basic128Rsa15 SignAndEncrypt, Basic256Sha256 Sign, "),
        (OFFERS, "Aes256_Sha256_RsaPss", "Write 'security: {policy: Basic256Sha256, mode: SignAndEncrypt}'"),
        (OFFERS[2:3] + OFFERS[4:], None, "Write 'security: {policy: Aes256_Sha256_RsaPss, mode: Sign}'"),
        (OFFERS[:2], None, "Turn on a security policy there, such as Basic256Sha256, or allow a session that anybody"),
        (OFFERS[1:2], None, "the server does not offer a safe policy with SignAndEncrypt"),
        (OFFERS[1:], "None", "the server does not offer a session without security"),
        ([], None, "it offers nothing"),
    ],
)
def test_what_is_not_offered_is_said_and_nothing_less_is_taken(
    offers: list[ua.EndpointDescription], policy: Policy | None, said: str
) -> None:
    with pytest.raises(EndpointUnfit) as caught:
        choose(offers, policy, security())
    assert said in str(caught.value)


def test_an_endpoint_that_does_not_take_the_user_is_passed_over_for_one_that_does() -> None:
    offers = [endpoint("Aes256_Sha256_RsaPss"), endpoint("Basic256Sha256", "SignAndEncrypt", password())]
    assert choose(offers, None, security(user="me")).policy == "Basic256Sha256"
    with pytest.raises(EndpointUnfit, match="does not let in a user with certificate here"):
        choose(offers, None, security(user_certificate="a", user_key="b"))


def test_a_password_is_sent_encrypted_wherever_the_server_takes_that() -> None:
    both = endpoint("Basic256Sha256", "Sign", password("None"), password("Aes256_Sha256_RsaPss"))
    token = choose([both], None, security(user="me", mode="Sign")).token
    assert token.SecurityPolicyUri == POLICY_PREFIX + "Aes256_Sha256_RsaPss"
    unnamed = choose([endpoint("Basic256Sha256", "Sign", password())], None, security(user="me", mode="Sign")).token
    assert unnamed.SecurityPolicyUri == POLICY_PREFIX + "Basic256Sha256"


def test_a_password_in_plain_text_goes_only_where_others_cannot_read_it_or_the_file_allows_it() -> None:
    hidden = [endpoint("Basic256Sha256", "SignAndEncrypt", password("None"))]
    assert choose(hidden, None, security(user="me")).token.SecurityPolicyUri == POLICY_PREFIX + "None"
    open_ = [endpoint("Basic256Sha256", "Sign", password("None"))]
    with pytest.raises(EndpointUnfit, match="wants the password in plain text"):
        choose(open_, None, security(user="me", mode="Sign"))
    allowed = security(user="me", mode="Sign", plain_password="allow")
    assert choose(open_, None, allowed).token.SecurityPolicyUri == POLICY_PREFIX + "None"


def test_a_user_protected_by_a_policy_that_is_broken_is_not_sent() -> None:
    old = [endpoint("Basic256Sha256", "Sign", password("Basic128Rsa15"))]
    with pytest.raises(EndpointUnfit, match="Basic128Rsa15, which is not safe any more"):
        choose(old, None, security(user="me", mode="Sign"))


def test_a_stronger_offer_is_seen() -> None:
    chosen = choose(OFFERS[2:4], None, security(mode="Sign"))
    assert stronger_offer(OFFERS, chosen) == "Aes256_Sha256_RsaPss"
    assert stronger_offer(OFFERS[:4], chosen) == ""


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("opc.tcp://10.0.0.7:4841", "opc.tcp://10.0.0.7:4841/UA"),
        ("opc.tcp://10.0.0.7:4841/", "opc.tcp://10.0.0.7:4841/UA"),
        ("opc.tcp://10.0.0.7/Own", "opc.tcp://10.0.0.7/Own"),
    ],
)
def test_the_server_is_reached_as_the_file_says_whatever_it_calls_itself(written: str, used: str) -> None:
    assert session_url(written, "opc.tcp://plc-behind-nat:4840/UA") == used
