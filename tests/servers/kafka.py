"""Apache Kafka on this machine, one node that is broker and controller, from jars that Maven fetches once."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lineside.servers.child_process import LOOPBACK, ChildProcess, ServerNotStarted, find_program, free_port

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_POM: Final = Path(__file__).with_name("kafka") / "pom.xml"
_CACHE: Final = _CHECKOUT / ".servers" / "kafka"
_CLUSTER_ID: Final = "TGluZXNpZGVUZXN0c0Fwcw"
_FETCH_TIMEOUT_S: Final = 600.0
_FORMAT_TIMEOUT_S: Final = 60.0
_START_TIMEOUT_S: Final = 60.0
_JVM: Final = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOG_LEVELS: Final = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)


def fetch_jars() -> Path:
    """The folder of Kafka's jars, after Maven has filled it, if it was not filled from the same pom before.

    Raises ``ProgramMissing`` without Maven, ``ServerNotStarted`` with what Maven said when it fails.
    """
    jars, fetched = _CACHE / "libs", _CACHE / "fetched_pom.xml"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if fetched.exists() and fetched.read_bytes() == _POM.read_bytes():
            return jars
        maven = find_program("mvn", "apt-get install maven")
        for stale in jars.glob("*.jar"):
            stale.unlink()
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        finished = subprocess.run(
            [maven, "-q", "-B", "-f", str(_POM), *goal],
            capture_output=True,
            text=True,
            timeout=_FETCH_TIMEOUT_S,
            check=False,
        )
        if finished.returncode != 0:
            raise ServerNotStarted(f"Maven could not fetch Kafka's jars: {finished.stdout[-2000:]}")
        fetched.write_bytes(_POM.read_bytes())
    return jars


class KafkaServer:
    """A Kafka broker in ``folder``; stopped, killed and started again, it keeps its ports and its data.

    ``protocol`` is how clients talk to it: ``PLAINTEXT``, or one for which ``settings`` bring the rest.
    """

    def __init__(self, folder: Path, *, protocol: str = "PLAINTEXT", settings: Mapping[str, str] | None = None) -> None:
        self._java = find_program("java", "apt-get install openjdk-17-jre-headless")
        self._jars = fetch_jars()
        self._folder = folder
        self._protocol = protocol
        self._settings = dict(settings or {})
        self._controller_port = free_port()
        self._process = ChildProcess("Kafka", folder / "kafka.log")
        self.port = free_port()

    @property
    def bootstrap(self) -> str:
        """The address that clients connect to."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process.running

    def start(self) -> None:
        """Start, and wait until the broker serves. Raises ``ServerNotStarted``."""
        properties = self._folder / "server.properties"
        if not properties.exists():
            self._format(properties)
        self._process.start(
            [self._java, *_JVM, *_LOG_LEVELS, "-cp", self._class_path(), "kafka.Kafka", str(properties)],
            lambda: "Kafka Server started" in self._process.log(),
            timeout_s=_START_TIMEOUT_S,
        )

    def stop(self) -> None:
        """Stop in an orderly way."""
        self._process.stop()

    def kill(self) -> None:
        """End the broker as a crash would (the page cache survives)."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze the broker: connections stay open and silent."""
        self._process.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._process.resume()

    def _class_path(self) -> str:
        return os.pathsep.join(str(jar) for jar in sorted(self._jars.glob("*.jar")))

    def _format(self, properties: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        listeners = f"{self._protocol}://{LOOPBACK}:{self.port}"
        controller = f"{LOOPBACK}:{self._controller_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"{listeners},CONTROLLER://{controller}",
            "advertised.listeners": listeners,
            "inter.broker.listener.name": self._protocol,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": f"{self._protocol}:{self._protocol},CONTROLLER:PLAINTEXT",
            "controller.quorum.bootstrap.servers": controller,
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": "4194304",
            # A killed broker is fenced until its session has run out: with the defaults a restart takes 14 s.
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "500",
            **self._settings,
        }
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        tool = [self._java, *_JVM, "-cp", self._class_path(), "kafka.tools.StorageTool", "format"]
        finished = subprocess.run(
            [*tool, "-t", _CLUSTER_ID, "-c", str(properties), "--standalone", "--ignore-formatted"],
            capture_output=True,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
            check=False,
        )
        if finished.returncode != 0:
            properties.unlink()
            raise ServerNotStarted(f"Kafka's storage could not be formatted: {finished.stdout}{finished.stderr}")
