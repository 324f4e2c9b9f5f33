"""Packages of releases, made of what is installed here: no registry is asked, and each is a real one."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from lineside.releases import describe

from connectors.commands.signing import SigningKey
from connectors.releases.manifest import Schemas
from connectors.releases.package import write_package
from edge_agent.buffer.schema import SCHEMA_VERSION
from edge_agent.commands.journal_file import SCHEMA_VERSION as JOURNAL_VERSION
from tests.unit.test_extras import closure

ROOT = Path(__file__).parents[2]
SCHEMAS = Schemas(outbox=SCHEMA_VERSION, journal=JOURNAL_VERSION)
ENTRY = "[console_scripts]\nedge-agent = edge_agent.cli.app:main\n"
VERSION_SAID = (
    "import sys\ndef main():\n    if '--version' in sys.argv:\n        print('lineside {version}')\n        return\n"
)
CRASHES = VERSION_SAID + "    sys.exit(7)\n"
NEVER_HEALTHY = VERSION_SAID + "    import time\n    while True:\n        time.sleep(1)\n"


def whole_release(folder: Path, version: str, key: SigningKey) -> Path:
    """The tree as it is here, under another version, with all that it needs on a box."""
    wheels = [_wheel_of(distribution(name), folder) for name in sorted(closure("lineside", "edge")) if _is_here(name)]
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for place, parts in ((ROOT, ("connectors", "edge_agent", "cloud_ingest")), (ROOT / "deploy", ("lineside",)))
        for part in parts
        for path in (place / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    metadata = (distribution("lineside").read_text("METADATA") or "").splitlines()
    metadata = [f"Version: {version}" if line.startswith("Version: ") else line for line in metadata]
    own = _write_wheel(folder / f"lineside-{version}-py3-none-any.whl", version, files, "\n".join(metadata))
    return _package(folder, version, [*wheels, own], key)


def broken_release(folder: Path, version: str, key: SigningKey, main: str) -> Path:
    """A release whose agent says its version, and else does as ``main`` says."""
    files = {
        "edge_agent/__init__.py": b"",
        "edge_agent/cli/__init__.py": b"",
        "edge_agent/cli/app.py": main.format(version=version).encode(),
    }
    metadata = f"Metadata-Version: 2.1\nName: lineside\nVersion: {version}\n"
    own = _write_wheel(folder / f"lineside-{version}-py3-none-any.whl", version, files, metadata)
    return _package(folder, version, [own], key)


def _package(folder: Path, version: str, wheels: list[Path], key: SigningKey) -> Path:
    manifest, files = describe(wheels, SCHEMAS)
    path = folder / f"lineside-{version}.zip"
    write_package(path, manifest, files, key)
    return path


def _write_wheel(path: Path, version: str, files: Mapping[str, bytes], metadata: str) -> Path:
    info = f"lineside-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    own = {"METADATA": metadata, "WHEEL": wheel, "entry_points.txt": ENTRY}
    return _zip(path, {**files, **{f"{info}/{name}": text.encode() for name, text in own.items()}}, f"{info}/RECORD")


def _is_here(name: str) -> bool:
    try:
        return distribution(name).files is not None
    except ModuleNotFoundError:
        return False


def _wheel_of(found: Distribution, folder: Path) -> Path:
    """The wheel that an installed distribution came from, as far as it is of any use."""
    files: dict[str, bytes] = {}
    record = tag = ""
    for file in found.files or ():
        name = file.as_posix()
        if name.startswith("..") or name.endswith(".pyc"):
            continue
        if name.endswith(".dist-info/RECORD"):
            record = name
            continue
        if ".dist-info/" in name and name.endswith(("/INSTALLER", "/REQUESTED", "/direct_url.json")):
            continue
        content = Path(str(found.locate_file(file))).read_bytes()
        files[name] = content
        if name.endswith(".dist-info/WHEEL"):
            tags = [line.partition(": ")[2] for line in content.decode().splitlines() if line.startswith("Tag: ")]
            tag = "-".join(
                ".".join(sorted(set(part))) for part in zip(*(each.split("-") for each in tags), strict=True)
            )
    stem = record.partition(".dist-info")[0]
    return _zip(folder / f"{stem}-{tag}.whl", files, record)


def _zip(path: Path, files: Mapping[str, bytes], record: str) -> Path:
    lines: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(content)}")
            archive.writestr(name, content)
        archive.writestr(record, "\n".join([*lines, f"{record},,", ""]))
    return path
