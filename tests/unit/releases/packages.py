"""Packages of small files that are called like wheels, and the ways in which one can be wrong."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.releases.manifest import ReleaseFile, ReleaseManifest, Schemas
from connectors.releases.package import write_package

KEY = SigningKey.generate()
OTHER = SigningKey.generate()
KEYS = TrustedKeys({KEY.key_id: KEY.public_jwk()})
OWN = "wheels/lineside-1.1.0-py3-none-any.whl"
BESIDE = "wheels/idna-3.10-py3-none-any.whl"
CONTENTS = {OWN: b"lineside itself", BESIDE: b"a package that it needs"}


def manifest_of(contents: dict[str, bytes] = CONTENTS, **changes: Any) -> ReleaseManifest:
    files = {
        name: ReleaseFile(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in contents.items()
    }
    return ReleaseManifest(
        **{
            "version": "1.1.0",
            "python": "3.11",
            "platform": "linux_x86_64",
            "built_ms": 1,
            "schemas": Schemas(outbox=1, journal=1),
            "installed_bytes": 1000,
            "files": files,
            **changes,
        }
    )


def package(folder: Path, key: SigningKey = KEY, manifest: ReleaseManifest | None = None) -> Path:
    """A good one, unless told otherwise."""
    for name, content in CONTENTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    path = folder / "release.zip"
    write_package(path, manifest or manifest_of(), {name: folder / name for name in CONTENTS}, key)
    return path


def archive(path: Path, files: dict[str, bytes], sealed: str | None = None) -> Path:
    """Any files beside a manifest that is genuine."""
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("manifest.jws", manifest_of().sealed(KEY) if sealed is None else sealed)
        for name, content in files.items():
            target.writestr(name, content)
    return path
