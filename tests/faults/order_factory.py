"""A factory of real processes: broker, PostgreSQL, a log, each role in a process of its own, an agent, and a machine.

The machine is a Modbus unit that the test counts on; orders come in by the API, and are paid and carried by what is
built in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from edge_agent.commands.pinned_keys import write_pinned_keys
from tests import plain_http
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import AgentProcess

SITE: Final = "plant"
LINE: Final = "press"
PRODUCT: Final = "VALVE-12"
SCREW: Final = "SCREW-M4"
SCREWS: Final = 1000
SPEED: Final = 42
WANTED: Final = 5
LIFE_S_MAX: Final = 2 * WAIT_S_MAX
ROLES: Final = ("gateway", "lines", "inventory", "orders", "integrations", "commands", "historian", "ingest")
SPEED_AT, STATE_AT, GOOD_AT, REJECT_AT = 1, 10, 11, 12
"""Holding registers of the machine."""
DEVICES: Final = """
- name: press
  driver: modbus
  endpoint: {endpoint}
  poll: 100ms
  tags:
    - {{name: speed, at: holding 1, writable: {{min: 0, max: 60}}}}
    - {{name: state, at: holding 10}}
    - {{name: good, at: holding 11}}
    - {{name: reject, at: holding 12}}
"""
PLANT: Final = """
sites:
  - site: plant
    areas:
      - area: hall
        lines:
          - line: press
            signals:
              state: {tag: plant/line/press/state, map: {1: running}}
              good: {tag: plant/line/press/good}
              reject: {tag: plant/line/press/reject}
"""
TOKENS: Final = {"paul": "planner", "emil": "engineer"}


class OrderFactory:
    """``start`` makes everything run; ``kill`` ends one role as a power cut would, and starts it again."""

    def __init__(self, folder: Path, broker: MosquittoBroker, dsn: str, machine: ModbusServer, kafka: str) -> None:
        self.cloud = Cloud(folder / "cloud", broker.url, dsn, kafka=kafka)
        self.cloud.add("commands", {"signing_key": str(folder / "signing.jwk")})
        self.cloud.add("historian", {"publish_samples": True})
        self.cloud.add("integrations", {"payments": {"kind": "fake", "capture_after": "0s"}})
        self.agent = AgentProcess(folder / "agent", broker, DEVICES.format(endpoint=machine.endpoint))
        self._machine = machine
        self._running: dict[str, ChildProcess] = {}
        self._tokens: dict[str, str] = {}
        self._good = self._reject = 0

    def start(self) -> None:
        """Make keys and tokens, start every role and the agent, and tell the API what the factory is."""
        assert self.cloud.command("keys", "create").returncode == 0
        for name, role in TOKENS.items():
            self._tokens[name] = self.cloud.command("token", "create", name, "--role", role).stdout.strip()
        (self.agent.folder / "data").mkdir()
        keys = json.loads(self.cloud.command("keys", "export").stdout)["keys"]
        write_pinned_keys(self.agent.folder / "data" / "trusted-keys.json", keys)
        for role in ROLES:
            self._running[role] = self.cloud.process(role)
        self._open()
        self._machine.set("holding", STATE_AT, 1)
        self.agent.start()  # behind the lines: what its counters hold then is where counting begins

    def stop(self) -> None:
        """End everything."""
        self.agent.stop()
        for process in self._running.values():
            process.kill()

    def kill(self, role: str) -> None:
        """End ``role`` at once (kill -9), and start it again."""
        self._running[role].kill()
        self._running[role] = self.cloud.process(role)

    def ask(self, by: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer, as soon as the gateway gives one; the same question again does nothing twice."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.cloud.port}/api/v1{path}"
        answered: list[httpx.Response] = []

        def is_answered() -> bool:
            sent = {"Authorization": f"Bearer {self._tokens[by]}", **named}
            try:
                answer = plain_http.ask(method, url, json=body, headers=sent)
            except httpx.TransportError:
                return False
            answered[:] = [answer]
            return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR

        self._until(is_answered, lambda: f"{method} {path}: {[one.text for one in answered]}")
        assert answered[0].is_success, f"{method} {path}: {answered[0].text}"
        return answered[0].json() if answered[0].content else None

    def life(self, name: str, at_the_start: Callable[[], None], in_the_middle: Callable[[], None]) -> dict[str, Any]:
        """One order from the first to the last; what it has left behind, without what differs from order to order."""
        before = self._stock()
        body = {"customer": "acme", "lines": [{"product": PRODUCT, "quantity": str(WANTED)}]}
        order = self.ask("paul", "POST", "/orders", body, Idempotency_Key=name)["id"]
        at_the_start()
        self._until_order(order, lambda found: [one["state"] for one in found["work_orders"]] == ["running"])
        assert self._machine.get("holding", SPEED_AT) == [SPEED], "the recipe is in the machine"
        self._count(good=2, reject=1)
        in_the_middle()
        self._count(good=WANTED - 2)
        self._until_order(order, lambda found: Decimal(found["lines"][0]["reserved"]) == WANTED)
        self.ask("paul", "POST", f"/orders/{order}/shipments", {}, Idempotency_Key=f"{name} packed")
        self._until_order(order, lambda found: found["state"] in ("shipped", "delivered"))
        # it has left when inventory has said so: what lines have said of it comes by another topic, maybe later
        found = self._until_order(order, lambda found: [one["state"] for one in found["work_orders"]] == ["complete"])
        self._machine.set("holding", SPEED_AT, 0)
        after = self._stock()
        return {
            "state": found["state"].replace("delivered", "shipped"),
            "paid": Decimal(found["paid"]) - Decimal(found["total"]),
            "payments": len(found["payments"]),
            "shipments": len(found["shipments"]),
            "shipped": [line["shipped"] for line in found["lines"]],
            "work orders": [(one["state"], one["good"], one["reject"]) for one in found["work_orders"]],
            "stock": {item: after[item] - before[item] for item in before},
            "problem": found["problem"],
        }

    def _count(self, good: int, reject: int = 0) -> None:
        """The machine makes pieces, one after the other."""
        for _ in range(good):
            self._good += 1
            self._machine.set("holding", GOOD_AT, self._good)
            time.sleep(0.15)  # longer than a poll: the machine's own pace
        self._reject += reject
        self._machine.set("holding", REJECT_AT, self._reject)

    def _stock(self) -> dict[str, Decimal]:
        return {item: Decimal(self.ask("paul", "GET", f"/stock/{item}")["on_hand"]) for item in (PRODUCT, SCREW)}

    def _until_order(self, order: str, condition: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        found: dict[str, Any] = {}

        def holds() -> bool:
            found.update(self.ask("paul", "GET", f"/orders/{order}"))
            return condition(found)

        self._until(holds, lambda: json.dumps(found, indent=1) + self._logs())
        return found

    def _until(self, condition: Callable[[], bool], why: Callable[[], str]) -> None:
        deadline_s = time.monotonic() + LIFE_S_MAX
        while not condition():
            assert time.monotonic() < deadline_s, why()
            time.sleep(0.1)

    def _logs(self) -> str:
        return "".join(f"\n{role}:\n{process.log_tail()}" for role, process in self._running.items())

    def _open(self) -> None:
        self._open_line()
        for item, kind in ((PRODUCT, "product"), (SCREW, "component")):
            self.ask("paul", "POST", "/items", {"code": item, "kind": kind}, Idempotency_Key=item)
        self.ask("paul", "POST", "/locations", {"code": SITE, "kind": "site"}, Idempotency_Key=SITE)
        bom = {"lines": [{"component": SCREW, "quantity": "2"}]}
        self.ask("paul", "POST", f"/boms/{PRODUCT}", bom, Idempotency_Key="bom")
        receipt = {"kind": "receipt", "item": SCREW, "quantity": str(SCREWS), "to": SITE}
        self.ask("paul", "POST", "/movements", receipt, Idempotency_Key="screws")
        step = {"site": SITE, "line": LINE, "ideal_cycle_s": "0.5", "recipe": {"speed": SPEED}}
        product = {
            "names": {"en": "Valve"},
            "prices": [{"currency": "EUR", "amount": "12.50"}],
            "sold": True,
            "routing": PRODUCT,
        }
        for what, draft in (("routings", {"name": "Valve", "steps": [step]}), ("products", product)):
            self.ask("paul", "PUT", f"/{what}/{PRODUCT}/draft", draft)
            self.ask("paul", "PUT", f"/{what}/{PRODUCT}/published", {}, If_Match="*")
        address = {"name": "Acme", "street": "Hauptstr. 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
        customer = {"customer": "acme", "name": "Acme", "addresses": {"delivery": address}}
        self.ask("paul", "POST", "/customers", customer, Idempotency_Key="acme")

    def _open_line(self) -> None:
        plant = self.cloud.folder / "plant.yaml"
        plant.write_text(PLANT)
        applied = self.cloud.command("lines", "apply", str(plant))
        assert applied.returncode == 0, applied.stderr
        parameters = {"speed": {"agent": "plant/line", "device": "press", "tag": "speed"}}
        settings = {"completes_itself": True, "starts_next": True, "parameters": parameters}
        self.ask("emil", "PUT", f"/work-orders/lines/{SITE}/{LINE}/settings", settings, If_Match="*")
