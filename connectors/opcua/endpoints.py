"""Which endpoint of a server, and which kind of user token of it, fits the settings (Part 4, 5.4.4 and 7.41). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from asyncua import ua

from connectors.model.errors import LinesideError
from connectors.opcua.security_settings import SECURE_POLICIES, Mode, OpcUaSecurity, Policy

POLICY_PREFIX: Final = "http://opcfoundation.org/UA/SecurityPolicy#"
_MODES: Final = {
    "Sign": ua.MessageSecurityMode.Sign,
    "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
_TOKEN_WORDS: Final = {
    ua.UserTokenType.Anonymous: "nobody in particular",
    ua.UserTokenType.UserName: "a user with password",
    ua.UserTokenType.Certificate: "a user with certificate",
    ua.UserTokenType.IssuedToken: "tokens of another system",
}
_TOKEN_ADVICE: Final = {
    ua.UserTokenType.Anonymous: "remove user and user_certificate",
    ua.UserTokenType.UserName: "name security.user and security.password",
    ua.UserTokenType.Certificate: "name security.user_certificate and security.user_key",
}


class EndpointUnfit(LinesideError):
    """The server has no endpoint that fits the settings: what it has, and what to write."""


@dataclass(frozen=True, slots=True)
class ChosenEndpoint:
    """An endpoint and what is used of it; ``token`` has the policy that protects it, never an empty one."""

    endpoint: ua.EndpointDescription
    policy: Policy
    mode: ua.MessageSecurityMode
    token: ua.UserTokenPolicy


def choose(
    endpoints: Sequence[ua.EndpointDescription], policy: Policy | None, security: OpcUaSecurity
) -> ChosenEndpoint:
    """The endpoint for ``policy``, or for the strongest there is, with a token for the user of ``security``.

    Never one without signature and encryption unless ``policy`` is None. Raises ``EndpointUnfit``.
    """
    mode = ua.MessageSecurityMode.None_ if policy == "None" else _MODES[security.mode]
    of_mode = [each for each in endpoints if each.SecurityMode == mode and _is_binary(each)]
    problem = ""
    for name in SECURE_POLICIES if policy is None else (policy,):
        for endpoint in of_mode:
            if endpoint.SecurityPolicyUri != POLICY_PREFIX + name:
                continue
            try:
                token = choose_token(endpoint, security)
            except EndpointUnfit as exc:
                problem = problem or str(exc)
                continue
            return ChosenEndpoint(endpoint, name, mode, token)
    raise EndpointUnfit(problem or _unfit(endpoints, policy, security.mode))


def choose_token(endpoint: ua.EndpointDescription, security: OpcUaSecurity) -> ua.UserTokenPolicy:
    """The kind of user token that ``endpoint`` takes for the user of ``security``. Raises ``EndpointUnfit``."""
    kind = token_type(security)
    offered = [_protected(token, endpoint) for token in endpoint.UserIdentityTokens or ()]
    fitting = [token for token in offered if token.TokenType == kind]
    if not fitting:
        kinds = list(dict.fromkeys(token.TokenType for token in offered))
        takes = " or ".join(_TOKEN_WORDS[each] for each in kinds) or "nobody"
        advice = ", or ".join(_TOKEN_ADVICE[each] for each in kinds if each in _TOKEN_ADVICE)
        raise EndpointUnfit(
            f"the server does not let in {_TOKEN_WORDS[kind]} here, but {takes}" + (f"; {advice}" if advice else "")
        )
    if kind == ua.UserTokenType.Anonymous:
        return fitting[0]
    known = {POLICY_PREFIX + name for name in SECURE_POLICIES}
    protected = next((token for token in fitting if token.SecurityPolicyUri in known), None)
    if protected is not None:
        return protected
    plain = next((token for token in fitting if token.SecurityPolicyUri == POLICY_PREFIX + "None"), None)
    if plain is None:
        names = ", ".join(_name(token.SecurityPolicyUri) for token in fitting)
        raise EndpointUnfit(f"the server wants the user protected by {names}, which is not safe any more, or not known")
    if kind == ua.UserTokenType.Certificate:
        raise EndpointUnfit("the server takes a user's certificate here without any proof; choose another policy")
    is_hidden = endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
    if not is_hidden and security.plain_password != "allow":  # noqa: S105
        raise EndpointUnfit(
            "the server wants the password in plain text, for everybody on the network to read: use a session with "
            "'mode: SignAndEncrypt', or allow it with 'plain_password: allow' under 'security'"
        )
    return plain


def token_type(security: OpcUaSecurity) -> ua.UserTokenType:
    """Of what kind the user of ``security`` is."""
    if security.user_certificate is not None:
        return ua.UserTokenType.Certificate
    return ua.UserTokenType.Anonymous if security.user is None else ua.UserTokenType.UserName


def stronger_offer(endpoints: Sequence[ua.EndpointDescription], chosen: ChosenEndpoint) -> str:
    """A policy that is stronger than the chosen one, for the same mode; empty when there is none."""
    better = SECURE_POLICIES[: SECURE_POLICIES.index(chosen.policy)] if chosen.policy in SECURE_POLICIES else ()
    uris = {each.SecurityPolicyUri for each in endpoints if each.SecurityMode == chosen.mode and _is_binary(each)}
    return next((name for name in better if POLICY_PREFIX + name in uris), "")


def session_url(written: str, offered: str) -> str:
    """The URL for a session: host and port as the device file has them, which is how the server is reached from here.

    (A server behind NAT or in a container calls itself otherwise.) The path is the server's where the file has none.
    """
    url = urlsplit(written)
    path = urlsplit(offered).path if url.path in ("", "/") else url.path
    return urlunsplit((url.scheme, url.netloc, path, url.query, ""))


def _is_binary(endpoint: ua.EndpointDescription) -> bool:
    return str(endpoint.EndpointUrl or "").startswith("opc.tcp://")


def _protected(token: ua.UserTokenPolicy, endpoint: ua.EndpointDescription) -> ua.UserTokenPolicy:
    """``token`` with the policy that protects it: that of the endpoint, where it names none (Part 4, 7.41)."""
    return token if token.SecurityPolicyUri else replace(token, SecurityPolicyUri=endpoint.SecurityPolicyUri)


def _name(uri: str | None) -> str:
    return str(uri or "None").removeprefix(POLICY_PREFIX)


def _unfit(endpoints: Sequence[ua.EndpointDescription], policy: Policy | None, mode: Mode) -> str:
    offers = [
        (_name(each.SecurityPolicyUri), ua.MessageSecurityMode(each.SecurityMode).name.rstrip("_"))
        for each in endpoints
        if _is_binary(each)
    ]
    shown = ", ".join(dict.fromkeys(name if name == "None" else f"{name} {mode}" for name, mode in offers))
    wanted = f"{policy or 'a safe policy'} with {mode}" if policy != "None" else "a session without security"
    ranked = [(name, each) for each in ("SignAndEncrypt", "Sign") for name in SECURE_POLICIES]
    usable = next((offer for offer in ranked if offer in offers), None)
    sentence = f"the server does not offer {wanted}; it offers {shown or 'nothing'}"
    if usable is not None:
        return f"{sentence}. Write 'security: {{policy: {usable[0]}, mode: {usable[1]}}}'"
    if any(name == "None" for name, _ in offers):
        return (
            f"{sentence}. Turn on a security policy there, such as Basic256Sha256, or allow a session that anybody can "
            "read and change with 'insecure: true'"
        )
    return f"{sentence}. Turn on a security policy there: {', '.join(SECURE_POLICIES)}"
