"""What a device file says of the security of a session (OPC UA Part 4, 6.1; policies of Part 7)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from connectors.configuration.setting_types import InputFile, files_are_checked
from connectors.ports.secrets import Secret
from connectors.ports.settings import SettingInvalid, Settings

Policy = Literal["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
Mode = Literal["Sign", "SignAndEncrypt"]
SECURE_POLICIES: Final[tuple[Policy, ...]] = ("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256")
"""The strongest first."""


class OpcUaTrust(Settings):
    """Which certificates of the server count beside those that 'edge-agent trust accept' has taken."""

    issuers: Annotated[
        tuple[InputFile, ...],
        Field(max_length=100, description="Certificates of authorities and their revocation lists, PEM or DER"),
    ] = ()
    allow: Annotated[
        tuple[Literal["expired", "application_uri", "key_usage"], ...],
        Field(max_length=3, description="What may be wrong with it all the same"),
    ] = ()


class OpcUaSecurity(Settings):
    """How the session is secured, and as whom."""

    policy: Annotated[
        Policy | None, Field(description="Without it the strongest that the server offers, never None")
    ] = None
    mode: Annotated[Mode, Field(description="Sign: others on the network can read, and change nothing")] = (
        "SignAndEncrypt"
    )
    user: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    password: Annotated[Secret | None, Field(description="${credential:NAME}, ${file:/path} or ${env:NAME}")] = None
    plain_password: Annotated[
        Literal["refuse", "allow"],
        Field(description="allow: where the server asks for it, the password is sent for everybody to read"),
    ] = "refuse"  # noqa: S105
    user_certificate: Annotated[InputFile | None, Field(description="The user's certificate, PEM or DER")] = None
    user_key: Annotated[InputFile | None, Field(description="The private key of user_certificate")] = None
    certificate: Annotated[
        InputFile | None, Field(description="The agent's own certificate; else the one that it makes itself")
    ] = None
    key: Annotated[InputFile | None, Field(description="The private key of certificate")] = None
    trust: OpcUaTrust = OpcUaTrust()

    @field_validator("password")
    @classmethod
    def _not_too_long(cls, password: Secret | None) -> Secret | None:
        if password is not None and len(password.get_secret_value().encode()) > PASSWORD_BYTES_MAX:
            raise SettingInvalid(
                f"a password has at most {PASSWORD_BYTES_MAX} bytes here: it is encrypted in one block.",
                "Take a shorter one, or a certificate as user.",
            )
        return password

    @model_validator(mode="after")
    def _fits(self) -> OpcUaSecurity:
        pairs = (("password", "user"), ("user_certificate", "user_key"), ("user_key", "user_certificate"))
        for has, needs in (*pairs, ("certificate", "key"), ("key", "certificate")):
            if getattr(self, has) is not None and getattr(self, needs) is None:
                raise SettingInvalid(f"it needs {needs!r} beside it.", f"Add {needs!r}.", (has,))
        if self.user is not None and self.user_certificate is not None:
            raise SettingInvalid(
                "a session has one user: a name, or a certificate.", "Remove one of the two.", ("user_certificate",)
            )
        if self.policy == "None":
            for name in ("mode", "certificate"):
                if name in self.model_fields_set:
                    raise SettingInvalid("it does nothing with 'policy: None'.", "Remove it, or 'policy'.", (name,))
        if self.plain_password == "allow" and self.password is None:  # noqa: S105
            raise SettingInvalid("it does nothing without 'password'.", "Remove it.", ("plain_password",))
        return self

    @model_validator(mode="after")
    def _usable_files(self, info: ValidationInfo) -> OpcUaSecurity:
        if not files_are_checked(info):
            return self
        from connectors.trust.certificates import CertificateUnusable  # some MB, where a file is looked at
        from connectors.trust.issuer_files import read_issuers
        from connectors.trust.own import load_pair

        at = "issuers"
        try:
            read_issuers(self.trust.issuers)
            for at, key in (("user_certificate", "user_key"), ("certificate", "key")):
                own, secret = getattr(self, at), getattr(self, key)
                if own is not None and secret is not None:
                    load_pair(own, secret)
        except CertificateUnusable as exc:
            place = ("trust", at) if at == "issuers" else (at,)
            raise SettingInvalid(f"{exc}.", "Name the right file, or correct it.", place) from exc
        return self


PASSWORD_BYTES_MAX: Final = 120
"""RSA of 2,048 bits takes 190 bytes in a block (OAEP with SHA-256), of which length and nonce need up to 68."""
