"""Two Sparkplug implementations of other people, as programs that write and read payloads: Eclipse Tahu, and npm's.

Neither runs at a test's start only: what they need is fetched and compiled once, into ``.servers``.
"""

from __future__ import annotations

import base64
import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from lineside.servers.child_process import ServerNotStarted, find_program

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_HERE: Final = Path(__file__).parent
_CACHE: Final = _CHECKOUT / ".servers"
PACKAGE_FILES: Final = ("package.json", "package-lock.json")
_FETCH_TIMEOUT_S: Final = 600.0
_RUN_TIMEOUT_S: Final = 60.0


class PeerMessage(NamedTuple):
    """A message of a peer's node; ``device`` is empty for the node itself."""

    verb: str
    device: str
    payload: bytes


class Peer:
    """A program that knows Sparkplug. ``command`` starts it; it takes ``write MILLISECONDS`` or ``read``."""

    def __init__(self, name: str, command: Sequence[str], *, has_arrays: bool) -> None:
        self.name = name
        self.has_arrays = has_arrays
        self._command = tuple(command)

    def write(self, now_ms: int) -> list[PeerMessage]:
        """The births and data of a node whose clock says ``now_ms``, with every data type that the peer can write."""
        lines = [line.split(" ") for line in self._run("write", str(now_ms), given="")]
        return [PeerMessage(verb, device.strip("-"), base64.b64decode(text)) for verb, device, text in lines]

    def read(self, *payloads: bytes) -> list[dict[str, Any]]:
        """What the peer understands of each payload; births come before their data."""
        given = "".join(base64.b64encode(payload).decode() + "\n" for payload in payloads)
        return [json.loads(line) for line in self._run("read", given=given)]

    def _run(self, *arguments: str, given: str) -> list[str]:
        done = subprocess.run(
            [*self._command, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=_RUN_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {done.stderr[-2000:]}"
        return done.stdout.splitlines()


def tahu() -> Peer:
    """Eclipse Tahu (Java). Raises ``ProgramMissing`` or ``ServerNotStarted``."""
    java = find_program("java", "apt-get install default-jdk-headless")
    folder, source = _CACHE / "tahu", _HERE / "tahu"

    def make() -> None:
        maven = find_program("mvn", "apt-get install maven")
        compiler = find_program("javac", "apt-get install default-jdk-headless")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'libs'}"]
        call("Maven could not fetch Eclipse Tahu", [maven, "-q", "-B", "-f", str(source / "pom.xml"), *goal])
        call(
            "javac could not compile the peer of the tests",
            [compiler, "-d", str(folder / "classes"), "-cp", f"{folder / 'libs'}/*", str(source / "TahuPeer.java")],
        )

    made_once(folder, [source / "pom.xml", source / "TahuPeer.java"], make)
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return Peer(
        "Eclipse Tahu", [java, *quick, "-cp", f"{folder / 'classes'}:{folder / 'libs'}/*", "TahuPeer"], has_arrays=True
    )


def sparkplug_payload() -> Peer:
    """The npm package sparkplug-payload. Raises ``ProgramMissing`` or ``ServerNotStarted``."""
    node = find_program("node", "apt-get install nodejs")
    folder, source = _CACHE / "sparkplug_payload", _HERE / "sparkplug_payload"

    def make() -> None:
        shutil.copy(source / "peer.js", folder)
        fetch_packages(source, folder)

    made_once(folder, [*(source / name for name in PACKAGE_FILES), source / "peer.js"], make)
    return Peer("sparkplug-payload", [node, str(folder / "peer.js")], has_arrays=False)


def fetch_packages(source: Path, folder: Path, *also: str) -> None:
    """Have npm fetch into ``folder`` exactly what the lock file in ``source`` names; ``also``: options of npm.

    A new lock file: ``npm install --package-lock-only --omit-lockfile-registry-resolved`` beside package.json.
    Raises ``ProgramMissing`` or ``ServerNotStarted``.
    """
    npm = find_program("npm", "apt-get install npm")
    for name in PACKAGE_FILES:
        shutil.copy(source / name, folder)
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev", *also]
    call(f"npm could not fetch the packages of {source.name}", [npm, "ci", "--prefix", str(folder.resolve()), *quiet])


def made_once(folder: Path, sources: Sequence[Path], make: Callable[[], None]) -> None:
    """Fill ``folder`` by ``make``, unless it was filled from the same ``sources`` before."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted, made = b"\x00".join(path.read_bytes() for path in sources), folder / "made_from"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists() and made.read_bytes() == wanted:
            return
        made.unlink(missing_ok=True)
        make()
        made.write_bytes(wanted)


def call(failed: str, command: Sequence[str]) -> None:
    """Run ``command``. Raises ``ServerNotStarted`` with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise ServerNotStarted(f"{failed}: {(done.stdout + done.stderr)[-2000:]}")
