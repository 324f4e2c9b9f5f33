"""A stand-in for MongoDB: mongo-java-server, which keeps everything in memory and speaks MongoDB's wire protocol.

MongoDB itself comes from no package registry. The stand-in has no transactions, change streams or text search, and
what it does not do as MongoDB would is not seen by these tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lineside.servers.child_process import LOOPBACK, ChildProcess, find_program, free_port

from tests.servers.sparkplug_peers import call, made_once

_CACHE: Final = Path(__file__).resolve().parents[2] / ".servers" / "mongo"
_SOURCE: Final = Path(__file__).with_name("mongo")
_JVM: Final = ("-Xms32m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_START_TIMEOUT_S: Final = 60.0


def fetch_stand_in() -> Path:
    """The folder of its jars and our class, filled once. Raises ``ProgramMissing`` or ``ServerNotStarted``."""

    def make() -> None:
        maven = find_program("mvn", "apt-get install maven")
        compiler = find_program("javac", "apt-get install default-jdk-headless")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={_CACHE / 'libs'}"]
        call("Maven could not fetch mongo-java-server", [maven, "-q", "-B", "-f", str(_SOURCE / "pom.xml"), *goal])
        call(
            "javac could not compile the stand-in for MongoDB",
            [compiler, "-d", str(_CACHE / "classes"), "-cp", f"{_CACHE / 'libs'}/*", str(_SOURCE / "StandIn.java")],
        )

    made_once(_CACHE, [_SOURCE / "pom.xml", _SOURCE / "StandIn.java"], make)
    return _CACHE


class MongoServer:
    """The stand-in, logging into ``folder``; what it has is gone when it stops."""

    def __init__(self, folder: Path) -> None:
        self._java = find_program("java", "apt-get install openjdk-17-jre-headless")
        self._class_path = f"{fetch_stand_in() / 'classes'}:{_CACHE / 'libs'}/*"
        self._process = ChildProcess("mongo-java-server", folder / "mongo.log")
        self.port = free_port()

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"mongodb://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start, and wait until it serves. Raises ``ServerNotStarted``."""
        command = [self._java, *_JVM, "-cp", self._class_path, "StandIn", str(self.port)]
        self._process.start(command, lambda: "listening" in self._process.log(), timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        """End it."""
        self._process.stop()
