"""Sparkplug topics: ``spBv1.0/GROUP/VERB/EDGE[/DEVICE]`` and ``spBv1.0/STATE/HOST`` (specification 3.0, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from connectors.model.delivery import AgentName
from connectors.model.errors import PayloadInvalid

NAMESPACE = "spBv1.0"
ID_BYTES_MAX = 1024
"""Lineside's own bound on one id; the specification names none, MQTT allows 65,535 bytes for the whole topic."""


class Verb(Enum):
    """Message types of an Edge Node and its devices."""

    NBIRTH = "NBIRTH"
    NDATA = "NDATA"
    NDEATH = "NDEATH"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDATA = "DDATA"
    DDEATH = "DDEATH"
    DCMD = "DCMD"


NODE_VERBS = frozenset({Verb.NBIRTH, Verb.NDATA, Verb.NDEATH, Verb.NCMD})
_VERBS = {verb.value: verb for verb in Verb}


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic; ``device`` is empty for the verbs of the node itself."""

    agent: AgentName
    verb: Verb
    device: str = ""

    def __str__(self) -> str:
        tail = f"/{self.device}" if self.device else ""
        return f"{NAMESPACE}/{self.agent.group}/{self.verb.value}/{self.agent.name}{tail}"


def state_topic(host: str) -> str:
    """Where the host application ``host`` announces whether it is online (specification, section 5.6)."""
    return f"{NAMESPACE}/STATE/{host}"


def id_problem(text: str) -> str:
    """Why ``text`` cannot be a group, edge node, device or host id; empty when it can (section 2.3, ids)."""
    if not text:
        return "it is empty"
    bad = [char for char in "+/#" if char in text]
    if bad:
        return f"it contains {' and '.join(repr(char) for char in bad)}, which Sparkplug keeps for itself"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "it contains half of a surrogate pair, which is no UTF-8"
    if len(text.encode()) > ID_BYTES_MAX:
        return f"it is longer than {ID_BYTES_MAX} bytes"
    if any(ord(char) < 32 for char in text):
        return "it contains a control character"
    return ""


@lru_cache(maxsize=16_384)
def parse_topic(topic: str) -> Topic:
    """The parts of a Sparkplug topic of a node or device.

    Raises ``PayloadInvalid`` for anything else, STATE topics included. Results are cached: a plant has few topics, and
    long ones that strangers make up take 50 MB at most.
    """
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[0] != NAMESPACE:
        raise PayloadInvalid(f"not a Sparkplug topic of a node or device: {topic[:200]!r}")
    verb = _VERBS.get(parts[2])
    if verb is None:
        raise PayloadInvalid(f"unknown Sparkplug message type {parts[2][:40]!r} in topic {topic[:200]!r}")
    if (len(parts) == 4) != (verb in NODE_VERBS):
        wanted = "no device" if verb in NODE_VERBS else "a device"
        raise PayloadInvalid(f"a {verb.value} topic has {wanted} as its fifth level: {topic[:200]!r}")
    for part in (parts[1], *parts[3:]):
        if problem := id_problem(part):
            raise PayloadInvalid(f"bad id {part[:40]!r} in topic {topic[:200]!r}: {problem}")
    return Topic(AgentName(parts[1], parts[3]), verb, parts[4] if len(parts) == 5 else "")
