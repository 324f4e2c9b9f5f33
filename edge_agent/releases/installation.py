"""A package that was verified becomes a release beside the others: a virtual environment of its own, without a network.

Nothing of a package is run before its signature is verified. ``complete.json`` is written last: what lacks it was
broken off, and is removed before the next attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.commands.signing import TrustedKeys
from connectors.model.errors import LinesideError
from connectors.releases.manifest import ReleaseInvalid, ReleaseManifest, Schemas
from connectors.releases.package import unpack
from edge_agent.releases.layout import COMPLETE, ENV_PYTHON, PROGRAM, ReleaseFolder, sync_folder, write_whole
from edge_agent.releases.switching import State

PIP_S_MAX: Final = 600.0
VERSION_S_MAX: Final = 60.0
ENVIRONMENT_BYTES: Final = 40_000_000
"""What a virtual environment needs before anything is installed in it."""
SAID_CHARS_MAX: Final = 400
UNPACKED: Final = "unpacked"
DOWNLOADS: Final = "downloads"


class InstallationFailed(LinesideError):
    """The release is not installed; the text says why. Nothing that runs has changed."""


@dataclass(frozen=True, slots=True)
class Box:
    """What a release has to fit."""

    python: str
    platform: str
    schemas: Schemas

    @classmethod
    def here(cls, schemas: Schemas) -> Box:
        """This one."""
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        return cls(f"{sys.version_info.major}.{sys.version_info.minor}", platform, schemas)

    def problem(self, manifest: ReleaseManifest) -> str:
        """Why a release cannot be used here; empty when it can."""
        if manifest.python != self.python:
            return f"it is for Python {manifest.python}, and this box has {self.python}"
        if manifest.platform != self.platform:
            return f"it is for {manifest.platform}, and this box is {self.platform}"
        if manifest.schemas != self.schemas:
            return (
                f"it writes {manifest.schemas} on the disk where this release writes {self.schemas}, so that there "
                "would be no way back; install it by hand"
            )
        return ""


def release_name(manifest: ReleaseManifest, sha256: str) -> str:
    """The folder of a release: another build of the same version is another one."""
    return f"{manifest.version}-{sha256[:12]}"


def bytes_needed(manifest: ReleaseManifest) -> int:
    """How much disk its installation needs, without the package."""
    return manifest.unpacked_bytes + manifest.installed_bytes + ENVIRONMENT_BYTES


def free_bytes(folder: Path) -> int:
    """How much the disk of ``folder`` has left. Raises ``OSError``."""
    return shutil.disk_usage(folder).free


def clear(folder: ReleaseFolder, state: State, keep_max: int, *, but: str = "") -> None:
    """Remove what is not needed: releases beyond ``keep_max`` (never those that may run), and what was broken off.

    ``but``: the SHA-256 whose download stays.
    """
    needed = {state.current, state.previous, state.runs}
    if (order := folder.order()) is not None:
        needed.add(order.to)
    installed = folder.installed()
    spare = [name for name in installed if name not in needed]
    gone = set(spare[: max(0, len(installed) - keep_max)])
    for path in list(folder.root.iterdir()):
        is_part = path.is_dir() and path.name[0].isdigit() and path.name not in installed and path.name not in needed
        if not path.is_symlink() and (path.name in gone or path.name == UNPACKED or is_part):
            (path / COMPLETE).unlink(missing_ok=True)  # first: a release is whole or none
            shutil.rmtree(path)
    for path in (folder.root / DOWNLOADS).glob("*"):
        if path.name != but:
            path.unlink()


async def install(folder: ReleaseFolder, package: Path, keys: TrustedKeys, *, sha256: str, box: Box) -> str:
    """Install the release in ``package``; its name. One that is there already is left as it is.

    Raises ``ReleaseInvalid``, ``InstallationFailed``, ``OSError``. A cancellation leaves part of it.
    """
    wheels = folder.root / UNPACKED
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    try:
        manifest = await asyncio.to_thread(unpack, package, keys, wheels, sha256=sha256)
        if problem := box.problem(manifest):
            raise ReleaseInvalid(problem)
        name = release_name(manifest, sha256)
        if folder.problem(name):
            shutil.rmtree(folder.release(name), ignore_errors=True)
            await _make(folder.release(name), manifest, [wheels / file for file in manifest.files])
            written = {"version": manifest.version, "sha256": sha256, "source": manifest.source}
            write_whole(folder.release(name) / COMPLETE, written)
            sync_folder(folder.root)
        return name
    finally:
        shutil.rmtree(wheels, ignore_errors=True)


async def _make(place: Path, manifest: ReleaseManifest, wheels: Sequence[Path]) -> None:
    pip = [*await _environment(place), "--disable-pip-version-check", "--no-input"]
    options = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--quiet"]
    await _run([*pip, "install", *options, *map(str, wheels)], PIP_S_MAX)
    await _run([*pip, "check"], PIP_S_MAX)
    said = (await _run([str(place / PROGRAM), "--version"], VERSION_S_MAX)).strip()
    if said != f"lineside {manifest.version}":
        raise InstallationFailed(f"it says that it is {said[:80]!r}, and not {manifest.version}")
    await asyncio.to_thread(os.sync)  # thousands of files: all of them are on the disk before it counts as complete


async def _environment(place: Path) -> list[str]:
    """Make the virtual environment; the command that installs into it: pip of the base installation, if that has one.

    Raises ``InstallationFailed``, ``OSError``.
    """
    base, inside = os.environ.get(ENV_PYTHON) or sys.executable, str(place / "bin" / "python")
    own = [base, "-I", "-m", "pip"]
    try:
        await _run([*own, "--version"], VERSION_S_MAX)
    except InstallationFailed:
        await _run([base, "-I", "-m", "venv", str(place)], PIP_S_MAX)
        return [inside, "-I", "-m", "pip"]
    await _run([base, "-I", "-m", "venv", "--without-pip", str(place)], PIP_S_MAX)
    return [*own, "--python", inside]


async def _run(command: Sequence[str], longest_s: float) -> str:
    """What a program says, which ends well within the time. Raises ``InstallationFailed``, ``OSError``."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
    )
    try:
        async with asyncio.timeout(longest_s):
            output, _ = await process.communicate()
    except TimeoutError as exc:
        raise InstallationFailed(f"{Path(command[0]).name} has not ended within {longest_s:.0f} s") from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    said = output.decode(errors="replace")
    if process.returncode:
        raise InstallationFailed(f"{' '.join(command[1:4])} failed: {said.strip()[-SAID_CHARS_MAX:]}")
    return said
