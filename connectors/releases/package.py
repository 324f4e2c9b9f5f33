"""The file of a release: a ZIP archive, stored, of ``manifest.jws`` and the wheels that it names, and nothing else.

What comes from a network is checked from the outside in: the hash of the whole file, the signature of its manifest, the
names and sizes in its directory, and the hash of each file while it is unpacked. Nothing is written outside of the
folder that is given, and nothing that the manifest does not name.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from connectors.commands.signing import SigningKey, TrustedKeys, unverified
from connectors.model.errors import LinesideError
from connectors.releases.manifest import (
    FILES_MAX,
    SEALED_BYTES_MAX,
    ReleaseInvalid,
    ReleaseManifest,
    read_manifest,
    verified_manifest,
)

MANIFEST: Final = "manifest.jws"
PACKAGE_BYTES_MAX: Final = 500_000_000
DIRECTORY_BYTES_MAX: Final = 256 * 1024
CHUNK_BYTES: Final = 1 << 20
_END: Final = struct.Struct("<4s8xL4xH")
"""The end of the directory of a ZIP archive: its signature, the bytes of the directory, and those of a comment."""
_END_SIGNATURE: Final = b"PK\5\6"
_LOCATOR_SIGNATURE: Final = b"PK\6\7"
_LOCATOR_BYTES: Final = 20
"""Where ZIP64 says that the end is elsewhere."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP archive can say: the same wheels make the same bytes."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal. Raises ``OSError``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_package(path: Path, manifest: ReleaseManifest, files: Mapping[str, Path], key: SigningKey) -> str:
    """Write the package of ``manifest``, whose ``files`` lie there; its SHA-256. Raises ``OSError``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), manifest.sealed(key))
        for name in sorted(manifest.files):
            with files[name].open("rb") as source, archive.open(zipfile.ZipInfo(name, _EPOCH), "w") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
    return file_sha256(path)


def look_into(path: Path) -> tuple[str, ReleaseManifest]:
    """The id of the key that a package names, and its manifest, not verified.

    Raises ``ReleaseInvalid``, ``OSError``.
    """
    with _opened(path) as archive:
        sealed = _sealed(archive)
        try:
            key_id, document = unverified(sealed)
        except LinesideError as exc:
            raise ReleaseInvalid(f"it has no manifest of a release: {exc}") from exc
        manifest = read_manifest(document)
        _check_directory(archive, manifest)
        return key_id, manifest


def verified(path: Path, keys: TrustedKeys, *, sha256: str = "") -> ReleaseManifest:
    """The manifest of a package that one of ``keys`` has signed; its files are looked at when they are unpacked.

    ``sha256``: what the whole file has to have. Raises ``ReleaseInvalid``, ``OSError``.
    """
    if sha256 and (found := file_sha256(path)) != sha256:
        raise ReleaseInvalid(f"its SHA-256 is {found}, and not {sha256}: it was changed on its way")
    with _opened(path) as archive:
        manifest = verified_manifest(_sealed(archive), keys)
        _check_directory(archive, manifest)
        return manifest


def unpack(path: Path, keys: TrustedKeys, folder: Path, *, sha256: str = "") -> ReleaseManifest:
    """Write the files of a package to ``folder``, which is there and empty. Raises ``ReleaseInvalid``, ``OSError``.

    After an error the folder has part of it, for the caller to remove.
    """
    manifest = verified(path, keys, sha256=sha256)
    with _opened(path) as archive:
        for name, file in manifest.files.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            _copy_checked(archive, name, target, file.size_bytes, file.sha256)
    return manifest


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    if path.stat().st_size > PACKAGE_BYTES_MAX:
        raise ReleaseInvalid(f"it has more than {PACKAGE_BYTES_MAX:,} bytes")
    try:
        with path.open("rb") as file:
            _check_end(file)
            with zipfile.ZipFile(file) as archive:
                yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeError, RuntimeError) as exc:
        raise ReleaseInvalid(f"it is no package of a release, or part of it is missing: {exc}") from exc


def _check_end(file: BinaryIO) -> None:
    """Raises ``ReleaseInvalid`` unless the file ends as packages do, with a directory of a bounded size.

    ``zipfile`` reads the whole directory at once, as large as its end says that it is; a comment or the records of
    ZIP64 would have it look for that end elsewhere than here (APPNOTE.TXT 6.3.10, 4.3.14 to 4.3.16).
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _LOCATOR_BYTES - _END.size))
    locator, end = (tail := file.read(_LOCATOR_BYTES + _END.size))[: -_END.size], tail[-_END.size :]
    signature, directory_bytes, comment_bytes = _END.unpack(end) if len(end) == _END.size else (b"", 0, 0)
    if signature != _END_SIGNATURE or comment_bytes or locator.startswith(_LOCATOR_SIGNATURE):
        raise ReleaseInvalid("it is no package of a release, or part of it is missing: it does not end as one")
    if directory_bytes > DIRECTORY_BYTES_MAX:
        raise ReleaseInvalid(f"its directory has more than {DIRECTORY_BYTES_MAX:,} bytes")


def _sealed(archive: zipfile.ZipFile) -> str:
    found = [info for info in archive.infolist() if info.filename == MANIFEST]
    if len(found) != 1 or not 0 < found[0].file_size <= SEALED_BYTES_MAX or not _is_stored(found[0]):
        raise ReleaseInvalid(f"it is no package of a release: it has no {MANIFEST}")
    try:
        return archive.read(found[0]).decode("ascii")
    except UnicodeDecodeError as exc:
        raise ReleaseInvalid(f"its {MANIFEST} is not text") from exc


def _is_stored(info: zipfile.ZipInfo) -> bool:
    """As it is: a file of which the archive has more bytes than that says would be read to its end."""
    return not info.compress_type and not info.flag_bits & 1 and info.compress_size == info.file_size


def _check_directory(archive: zipfile.ZipFile, manifest: ReleaseManifest) -> None:
    """Raises ``ReleaseInvalid`` unless the archive has just what the manifest names."""
    infos = archive.infolist()
    if len(infos) > FILES_MAX + 1:
        raise ReleaseInvalid(f"it has more than {FILES_MAX} files")
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if name in seen:
            raise ReleaseInvalid(f"it has two files {name[:80]!r}")
        seen.add(name)
        if name == MANIFEST:
            continue
        said = manifest.files.get(name)
        if said is None:
            raise ReleaseInvalid(f"it has a file {name[:80]!r}, which its manifest does not name")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or not _is_stored(info):
            raise ReleaseInvalid(f"{name} is not a plain file in it")
        if info.file_size != said.size_bytes:
            raise ReleaseInvalid(f"{name} has {info.file_size:,} bytes, and not {said.size_bytes:,}")
    if missing := manifest.files.keys() - seen:
        raise ReleaseInvalid(f"it has no file {min(missing)}, which its manifest names")


def _copy_checked(archive: zipfile.ZipFile, name: str, target: Path, size_bytes: int, sha256: str) -> None:
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with archive.open(name) as source, os.fdopen(os.open(target, flags, 0o644), "wb") as file:
        left = size_bytes
        while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    if left or digest.hexdigest() != sha256:
        raise ReleaseInvalid(f"{name} is not what its manifest says: it was changed")
