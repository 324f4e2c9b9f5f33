"""What a release says of itself: JSON, sealed by a release key as a JWS of the kind ``lineside-release``.

Release keys are not the keys of commands: a box has the public ones in a file that the cloud cannot write, so that
whoever has the cloud can choose among releases that were signed, and install nothing else.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.model.errors import LinesideError, PayloadInvalid

VERSION_PATTERN: Final = r"^[0-9][0-9a-z.+]{0,39}$"
"""PEP 440, normalised; it is part of a folder's name."""
FILE_PATTERN: Final = r"^wheels/[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}\.whl$"
FILES_MAX: Final = 500
FILE_BYTES_MAX: Final = 200_000_000
SEALED_BYTES_MAX: Final = 256 * 1024
LINESIDE_WHEEL: Final = "wheels/lineside-"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ReleaseInvalid(LinesideError):
    """The file is no release that may be used here; the text says why. Nothing of it was used."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class ReleaseFile(_Strict):
    """One file of a release."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1, le=FILE_BYTES_MAX)]


class Schemas(_Strict):
    """The formats of what an agent keeps on its disk, as the release writes them.

    A box takes a release only with the formats that it has, so that the release before can always go on with the disk.
    """

    outbox: Annotated[int, Field(ge=1, le=10_000)]
    journal: Annotated[int, Field(ge=1, le=10_000)]

    def __str__(self) -> str:
        return f"outbox format {self.outbox} and journal format {self.journal}"


class ReleaseManifest(_Strict):
    """See the module. ``python`` and ``platform`` are those that the wheels were gathered for.

    ``platform`` is as ``sysconfig.get_platform()`` has it, in the spelling of wheels, and ``python`` as ``3.11``.
    ``installed_bytes`` is what the files of the wheels have, unpacked.
    """

    format: Literal[1] = 1
    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    python: Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$")]
    platform: Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,60}$")]
    built_ms: Annotated[int, Field(ge=0, lt=1 << 53)]
    source: Annotated[str, Field(max_length=200, description="The commit that it was built from")] = ""
    schemas: Schemas
    installed_bytes: Annotated[int, Field(ge=1, le=10 * FILE_BYTES_MAX)]
    files: Annotated[
        dict[Annotated[str, Field(pattern=FILE_PATTERN)], ReleaseFile], Field(min_length=1, max_length=FILES_MAX)
    ]

    @property
    def unpacked_bytes(self) -> int:
        """How much its files need."""
        return sum(file.size_bytes for file in self.files.values())

    def sealed(self, key: SigningKey) -> str:
        """The manifest as it stands in a package."""
        return key.sign("lineside-release", self.model_dump_json().encode())


def read_manifest(document: bytes) -> ReleaseManifest:
    """The manifest in ``document``, whoever has signed it. Raises ``ReleaseInvalid``."""
    try:
        manifest = ReleaseManifest.model_validate_json(document)
    except ValidationError as exc:
        said = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()[:5])
        raise ReleaseInvalid(f"it has no manifest of a release: {said[:1000]}") from exc
    if not any(name.startswith(f"{LINESIDE_WHEEL}{manifest.version}-") for name in manifest.files):
        raise ReleaseInvalid(f"it has no wheel of Lineside {manifest.version}, which it says that it is")
    return manifest


def verified_manifest(sealed: str, keys: TrustedKeys) -> ReleaseManifest:
    """The manifest in ``sealed``. Raises ``ReleaseInvalid`` unless one of ``keys`` has signed it."""
    try:
        return read_manifest(keys.verify("lineside-release", sealed))
    except PayloadInvalid as exc:
        raise ReleaseInvalid(str(exc)) from exc
    except LinesideError as exc:
        raise ReleaseInvalid(f"its signature does not count here: {exc}") from exc
