"""A connect that is given up in the middle: nothing is left of it, and nobody waits for it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any, Final

import pytest

from connectors.mqtt import session as mqtt
from connectors.mqtt.session import MqttOptions, MqttSession

WAIT_S_MAX: Final = 30.0


class SlowDial:
    """Every connect waits in its thread until it ``may_go`` on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go = threading.Event()
        self._begun = threading.Event()
        dial = mqtt._Connection._dial

        def slow(connection: Any, host: str, port: int) -> None:
            self._begun.set()
            self.may_go.wait(WAIT_S_MAX)
            dial(connection, host, port)

        monkeypatch.setattr(mqtt._Connection, "_dial", slow)

    async def given_up(self, broker: socket.socket) -> None:
        """Begin to connect to ``broker``, and give up in the middle."""
        session = MqttSession(MqttOptions("an-agent"))
        url = f"mqtt://127.0.0.1:{broker.getsockname()[1]}"
        connecting = asyncio.create_task(session.connect(url, None, lambda _message: None))
        await asyncio.to_thread(self._begun.wait, WAIT_S_MAX)
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()


def told_until_the_end(broker: socket.socket) -> bytes:
    """What the next connection says until it is closed."""
    taken, _ = broker.accept()
    with taken:
        taken.settimeout(WAIT_S_MAX)
        said = b""
        while piece := taken.recv(1000):
            said += piece
    return said


async def test_a_connect_that_is_given_up_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    dial = SlowDial(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as broker:
        await dial.given_up(broker)
        dial.may_go.set()
        said = await asyncio.to_thread(told_until_the_end, broker)
    assert said[:1] in (b"", b"\x10"), "nothing but a CONNECT"


def test_a_connect_that_ends_after_its_event_loop_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    dial = SlowDial(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as broker:
        asyncio.run(dial.given_up(broker))
        dial.may_go.set()
        said = told_until_the_end(broker)
    assert said[:1] in (b"", b"\x10"), "nothing but a CONNECT"


@pytest.mark.parametrize(
    "waits", ["in_free_thread(lambda: time.sleep(60), 'dial')", "loop.run_in_executor(None, time.sleep, 60)"]
)
def test_a_program_that_has_ended_its_work_waits_for_no_thread(waits: str) -> None:
    code = (
        "import asyncio, time\n"
        "from connectors.stopping import end_within, in_free_thread\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        f"    waiting = {waits}\n"
        "    await asyncio.sleep(0.1)\n"
        "    print('done', flush=True)\n"
        "    end_within(0.5)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S_MAX, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
