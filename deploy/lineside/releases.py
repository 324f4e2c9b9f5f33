"""Releases, made: from a source tree to one signed file with every wheel that a box beside the line needs.

Built where Python and platform are those of the boxes. The release key is a file that only who makes releases has; it
is none of the cloud's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.model.errors import LinesideError
from connectors.releases.manifest import ReleaseFile, ReleaseManifest, Schemas
from connectors.releases.package import file_sha256, unpack, write_package
from edge_agent.commands.pinned_keys import read_pinned_keys

PIP_S_MAX: Final = 1800.0
EXTRA: Final = "edge"
_SCHEMAS: Final = (
    "import json; from edge_agent.buffer.schema import SCHEMA_VERSION as outbox; "
    "from edge_agent.commands.journal_file import SCHEMA_VERSION as journal; "
    "print(json.dumps({'outbox': outbox, 'journal': journal}))"
)


class ReleaseNotMade(LinesideError):
    """No package was written; the text says why."""


def make_key(path: Path) -> dict[str, Any]:
    """A new release key in the file ``path``, for its owner's eyes; its public half, as boxes have it."""
    key = SigningKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(key.to_jwk(), file)
        file.flush()
        os.fsync(file.fileno())
    return {"keys": {key.key_id: key.public_jwk()}}


def read_key(path: Path) -> SigningKey:
    """The release key in a file. Raises ``ReleaseNotMade``."""
    try:
        return SigningKey.from_jwk(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as exc:
        raise ReleaseNotMade(f"the release key {path} cannot be used: {exc}") from exc


def build(source: Path, package: Path, key: SigningKey, *, wheels: Path | None = None) -> tuple[str, ReleaseManifest]:
    """Build the release of a source tree into the file ``package``; its SHA-256 and manifest.

    ``wheels``: a folder that has every other wheel, so that no registry is asked. Raises ``ReleaseNotMade``.
    """
    with tempfile.TemporaryDirectory(prefix="lineside-release-") as temporary:
        place = Path(temporary)
        _pip("wheel", "--no-deps", "--wheel-dir", str(place), str(source), *_isolated())
        (own,) = place.glob("lineside-*.whl")
        where = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
        constraints = source / "constraints.txt"
        pinned = ["-c", str(constraints)] if constraints.exists() else []
        _pip("wheel", "--wheel-dir", str(place), "--prefer-binary", *pinned, *where, f"{own}[{EXTRA}]")
        manifest, files = describe(sorted(place.glob("*.whl")), schemas_of(own), source=_commit(source))
        return write_package(package, manifest, files, key), manifest


def describe(wheels: Sequence[Path], schemas: Schemas, *, source: str = "") -> tuple[ReleaseManifest, dict[str, Path]]:
    """The manifest of ``wheels``, one of which is Lineside's, and their files by the names that it gives them."""
    files = {f"wheels/{path.name}": path for path in wheels}
    own = [path.name for path in wheels if path.name.startswith("lineside-")]
    if len(own) != 1:
        raise ReleaseNotMade(f"there are {len(own)} wheels of Lineside")
    manifest = ReleaseManifest(
        version=own[0].split("-")[1],
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        platform=sysconfig.get_platform().replace("-", "_").replace(".", "_"),
        built_ms=time.time_ns() // 1_000_000,
        source=source,
        schemas=schemas,
        installed_bytes=sum(_installed_bytes(path) for path in wheels),
        files={
            name: ReleaseFile(sha256=file_sha256(path), size_bytes=path.stat().st_size) for name, path in files.items()
        },
    )
    return manifest, files


def read_built_by(path: Path) -> TrustedKeys:
    """The public keys of who builds, as ``make_key`` gives them. Raises ``KeysUnreadable``, ``ReleaseNotMade``."""
    keys = read_pinned_keys(path)
    if not len(keys):
        raise ReleaseNotMade(f"there are no keys in {path}: 'lineside release key' prints what belongs there")
    return keys


def sign_anew(package: Path, signed: Path, key: SigningKey, *, built_by: TrustedKeys) -> str:
    """Write the same release, signed by ``key``: on a machine that alone has it.

    Only what one of ``built_by`` has signed, as it was signed: else whoever can write where ``package`` lies would have
    every box. Raises ``ReleaseInvalid``, ``OSError``.
    """
    with tempfile.TemporaryDirectory(prefix="lineside-release-") as temporary:
        place = Path(temporary)
        manifest = unpack(package, built_by, place)
        return write_package(signed, manifest, {name: place / name for name in manifest.files}, key)


def schemas_of(wheel: Path) -> Schemas:
    """The formats that the Lineside in a wheel writes; it is asked itself. Raises ``ReleaseNotMade``."""
    said = _run([sys.executable, "-P", "-c", _SCHEMAS], {**os.environ, "PYTHONPATH": str(wheel)})
    return Schemas.model_validate_json(said)


def _installed_bytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(info.file_size for info in archive.infolist())


def _isolated() -> list[str]:
    """Where the build backend is here already, no registry is asked for it."""
    try:
        import hatchling  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:
        return []
    del hatchling
    return ["--no-build-isolation"]


def _commit(source: Path) -> str:
    try:
        said = _run(["git", "-C", str(source), "rev-parse", "HEAD"], dict(os.environ)).strip()
    except ReleaseNotMade:
        return ""
    return said if re.fullmatch(r"[0-9a-f]{40,64}", said) else ""


def _pip(*arguments: str) -> None:
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments], dict(os.environ))


def _run(command: Sequence[str], environ: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=PIP_S_MAX,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ReleaseNotMade(f"{command[0]}: {exc}") from exc
    if done.returncode:
        raise ReleaseNotMade(f"{' '.join(command[:4])} …: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
