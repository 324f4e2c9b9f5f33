"""Keycloak on this machine, with a realm, a client, roles and people, from a distribution that Maven fetches once."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import httpx
from lineside.servers.child_process import LOOPBACK, ChildProcess, ServerNotStarted, find_program, free_port

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_POM: Final = Path(__file__).with_name("keycloak") / "pom.xml"
_CACHE: Final = _CHECKOUT / ".servers" / "keycloak"
_FETCH_TIMEOUT_S: Final = 900.0
_START_TIMEOUT_S: Final = 240.0
REALM: Final = "plant"
CLIENT: Final = "lineside-ui"
OTHER_CLIENT: Final = "something-else"
AUDIENCE: Final = "lineside"
PASSWORD: Final = "blue presses hum at night"


def fetched_keycloak() -> Path:
    """The folder of Keycloak, after Maven has unpacked it, if it was not from the same pom before.

    Raises ``ProgramMissing`` without Maven, ``ServerNotStarted`` with what Maven said when it fails.
    """
    folder, fetched = _CACHE / "dist", _CACHE / "fetched_pom.xml"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not fetched.exists() or fetched.read_bytes() != _POM.read_bytes():
            maven = find_program("mvn", "apt-get install maven")
            goal = ["dependency:unpack", f"-DoutputDirectory={folder}"]
            finished = subprocess.run(
                [maven, "-q", "-B", "-f", str(_POM), *goal],
                capture_output=True,
                text=True,
                timeout=_FETCH_TIMEOUT_S,
                check=False,
            )
            if finished.returncode != 0:
                raise ServerNotStarted(f"Maven could not fetch Keycloak: {finished.stdout[-2000:]}")
            fetched.write_bytes(_POM.read_bytes())
    found = sorted(folder.glob("keycloak-*/bin/kc.sh"))
    if not found:
        raise ServerNotStarted(f"there is no Keycloak in {folder}: remove {_CACHE}, and it is fetched anew")
    return found[-1].parents[1]


class KeycloakServer:
    """A Keycloak in ``folder`` with the realm ``plant``; people log in by the client ``lineside-ui``."""

    def __init__(self, folder: Path, redirect_uri: str) -> None:
        find_program("java", "apt-get install openjdk-17-jre-headless")
        self._home = fetched_keycloak()
        self._folder = folder
        self._redirect_uri = redirect_uri
        self._process = ChildProcess("Keycloak", folder / "keycloak.log")
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def issuer(self) -> str:
        """The issuer of the realm's tokens."""
        return f"{self.url}/realms/{REALM}"

    def start(self) -> None:
        """Start with the realm, and wait until it serves. Raises ``ServerNotStarted``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        home = self._folder / "home"
        if not home.exists():  # it writes among its own files, and these are shared
            shutil.copytree(self._home, home)
        realms = home / "data" / "import"
        realms.mkdir(parents=True, exist_ok=True)
        (realms / "plant-realm.json").write_text(json.dumps(plant_realm(self._redirect_uri)))
        self._process.start(
            [str(home / "bin" / "kc.sh"), "start-dev", f"--http-port={self.port}", f"--http-host={LOOPBACK}",
             "--db=dev-mem", "--import-realm", "--cache=local", "--log-level=warn"],
            self._serves,
            timeout_s=_START_TIMEOUT_S,
            environment={
                "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
                "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
                "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
            },
        )  # fmt: skip

    def stop(self) -> None:
        """End it: it keeps nothing."""
        self._process.kill()

    def add_key(self) -> None:
        """Have tokens be signed with another key from now on; the one before is still published."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30.0) as admin:
            form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": PASSWORD}
            token = admin.post("/realms/master/protocol/openid-connect/token", data=form).json()["access_token"]
            key = {
                "name": "another",
                "providerId": "rsa-generated",
                "providerType": "org.keycloak.keys.KeyProvider",
                "config": {"priority": ["200"], "algorithm": ["RS256"], "keySize": ["2048"]},
            }
            headers = {"Authorization": f"Bearer {token}"}
            admin.post(f"/admin/realms/{REALM}/components", json=key, headers=headers).raise_for_status()

    def _serves(self) -> bool:
        try:
            answer = httpx.get(f"{self.issuer}/.well-known/openid-configuration", trust_env=False, timeout=5.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK


def plant_realm(redirect_uri: str) -> dict[str, Any]:
    """The realm: Anna is an operator at plant-7 and has a role that means nothing to us, Carla is a customer."""
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "none",
        "roles": {"realm": [{"name": name} for name in ("lineside-operator@plant-7", "press crew", "buyers")]},
        "clients": [
            {
                "clientId": client,
                "enabled": True,
                "publicClient": True,
                "standardFlowEnabled": True,
                "redirectUris": [redirect_uri],
                "attributes": {"pkce.code.challenge.method": "S256"},
                "protocolMappers": [_audience()] * (client == CLIENT) + [_customer()],
            }
            for client in (CLIENT, OTHER_CLIENT)
        ],
        "users": [
            _user("anna", ["lineside-operator@plant-7", "press crew"], {}),
            _user("carla", ["buyers"], {"customer": ["ACME"]}),
        ],
        "components": {
            "org.keycloak.userprofile.UserProfileProvider": [
                {
                    "providerId": "declarative-user-profile",
                    "config": {"kc.user.profile.config": [json.dumps(_PROFILE)]},
                }
            ]
        },
    }


_PROFILE: Final = {
    "attributes": [{"name": name} for name in ("username", "email", "firstName", "lastName")],
    "unmanagedAttributePolicy": "ENABLED",
}


def _user(name: str, roles: list[str], attributes: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "email": f"{name}@plant.example",
        "emailVerified": True,
        "firstName": name.title(),
        "lastName": "Berg",
        "attributes": attributes,
        "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
        "realmRoles": roles,
    }


def _audience() -> dict[str, Any]:
    config = {"included.custom.audience": AUDIENCE, "access.token.claim": "true", "id.token.claim": "false"}
    mapper = "oidc-audience-mapper"
    return {"name": "audience", "protocol": "openid-connect", "protocolMapper": mapper, "config": config}


def _customer() -> dict[str, Any]:
    config = {
        "user.attribute": "customer",
        "claim.name": "customer",
        "access.token.claim": "true",
        "jsonType.label": "String",
    }
    mapper = "oidc-usermodel-attribute-mapper"
    return {"name": "customer", "protocol": "openid-connect", "protocolMapper": mapper, "config": config}
