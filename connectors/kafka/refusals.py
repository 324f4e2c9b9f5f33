"""What keeps Kafka from serving us, in words that say what to do about it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from connectors.kafka.settings import KafkaLog
from connectors.ports.event_log import Cleanup, TopicSpec

ASK_S_MAX: Final = 3.0
OWN_NAMES: Final = "lineside."
"""The names of all topics and groups of Lineside begin so."""
_TOPIC_OPERATIONS: Final = ("Create", "Describe", "DescribeConfigs", "Read", "Write")
_FAILED: Final = (OSError, KafkaError, TimeoutError)
_CONNECTION_OPTIONS: Final = (
    "client_id",
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)

_create_conn: Final[Any] = create_conn  # it has no annotations
_hosts: Final[Any] = collect_hosts


async def why_unreachable(settings: KafkaLog, options: dict[str, Any]) -> str:
    """What each of the configured brokers says, asked once more: aiokafka keeps the reasons to itself.

    ``options`` are those of aiokafka's client. Never raises.
    """
    hosts = [(host, port) for host, port, _family in _hosts(list(settings.brokers), randomize=False)]
    said = await asyncio.gather(*(_said_by(host, port, settings, options) for host, port in hosts))
    places = [f"{host}:{port}" for host, port in hosts]
    return " ".join(f"{place}: {reason}" for place, reason in zip(places, said, strict=True))


async def _said_by(host: str, port: int, settings: KafkaLog, options: dict[str, Any]) -> str:
    chosen = {name: options[name] for name in _CONNECTION_OPTIONS if name in options}
    connection: Any = None
    try:
        async with asyncio.timeout(ASK_S_MAX):
            connection = await _create_conn(host, port, request_timeout_ms=round(ASK_S_MAX * 1000), **chosen)
            await connection.send(MetadataRequest([]))
    except _FAILED as exc:
        return refusal(exc, settings)
    finally:
        if connection is not None:
            connection.close()
    return "it answers again."


def refusal(exc: BaseException, settings: KafkaLog) -> str:
    """``exc`` as a sentence with advice, or in Kafka's own words where there is none to give."""
    for kinds, sentence in _SENTENCES:
        if isinstance(exc, kinds):
            return sentence(exc, settings)
    if isinstance(exc, BrokerResponseError) and not exc.args:
        return f"{exc.description.strip()} ({exc.message})"
    if isinstance(exc, KafkaError) and exc.args:
        return str(exc.args[0])
    return str(exc) or type(exc).__name__


def not_made(topic: TopicSpec, settings: KafkaLog, configuration: dict[str, str], reason: str) -> str:
    """The sentence for a topic that is not there and may not be made by us, with the command that makes it."""
    words = [
        f"kafka-topics.sh --bootstrap-server {settings.brokers[0]} --create --topic {topic.name}",
        f"--partitions {topic.partitions} --replication-factor {settings.replication}",
        *(f"--config {name}={value}" for name, value in configuration.items()),
    ]
    keeps = (
        "the newest record of each key" if topic.cleanup is Cleanup.COMPACT else f"{topic.retention_s / 86_400:g} days"
    )
    return (
        f"Kafka at {brokers(settings)} has no topic {topic.name}, and does not let us make it ({reason}). An "
        f"administrator makes it (it keeps {keeps}) with: {' '.join(words)}   or allows us to, with: "
        f"{_allow_topics(settings)}"
    )


def to_be_kept(topic: TopicSpec, settings: KafkaLog) -> str:
    """What an administrator does to have an existing topic keep its records as long as ``topic`` says.

    Nobody's data is deleted later or earlier than whoever runs the cluster has decided: so it is said and not done.
    """
    return (
        f"An administrator of Kafka has the topic {topic.name} keep {topic.retention_s / 86_400:g} days with: "
        f"kafka-configs.sh --bootstrap-server {settings.brokers[0]} --alter --entity-type topics --entity-name "
        f"{topic.name} --add-config retention.ms={round(topic.retention_s * 1000)},retention.bytes=-1"
    )


def brokers(settings: KafkaLog) -> str:
    """The configured brokers, for a sentence."""
    return ", ".join(settings.brokers)


def _topics_not_allowed(_exc: BaseException, settings: KafkaLog) -> str:
    return f"{_who(settings)} may not use this topic. An administrator allows it with: {_allow_topics(settings)}"


def _group_not_allowed(_exc: BaseException, settings: KafkaLog) -> str:
    allow = _allow(settings, ("Read",), f"--group {OWN_NAMES}")
    return f"{_who(settings)} may not read as a member of this group. An administrator allows it with: {allow}"


def _cluster_not_allowed(_exc: BaseException, settings: KafkaLog) -> str:
    return (
        f"{_who(settings)} may not do this in the cluster. An administrator allows what Lineside needs with: "
        f"{_allow_topics(settings)}   and, on Kafka before 3.0, also IdempotentWrite with --cluster."
    )


def _wrong_login(_exc: BaseException, settings: KafkaLog) -> str:
    login = settings.login
    user, mechanism = ("", "") if login is None else (login.user, login.mechanism)
    sentence = (
        f"it refuses the user {user!r} or the password. Check 'login' of 'kafka': user, password, and whether "
        f"{mechanism} is how this user logs in."
    )
    if mechanism.startswith("SCRAM"):
        sentence += (
            " An administrator makes such a user with: kafka-configs.sh --bootstrap-server "
            f"{settings.brokers[0]} --alter --add-config '{mechanism}=[password=…]' --entity-type users --entity-name "
            f"{user}"
        )
    return sentence


def _other_mechanism(_exc: BaseException, settings: KafkaLog) -> str:
    mechanism = "" if settings.login is None else settings.login.mechanism
    return (
        f"it does not offer the login {mechanism}. Write one that it offers as 'mechanism' of 'login': PLAIN, "
        "SCRAM-SHA-256 or SCRAM-SHA-512."
    )


def _no_login_wanted(_exc: BaseException, _settings: KafkaLog) -> str:
    return "this port takes no login. Name the port that does, or remove 'login' under 'kafka'."


def _unknown_name(_exc: BaseException, _settings: KafkaLog) -> str:
    return "this machine does not know the name. Check 'brokers' of 'kafka'."


def _nobody_there(_exc: BaseException, _settings: KafkaLog) -> str:
    return "nothing listens there. Is Kafka running, and is the port right?"


def _no_answer(_exc: BaseException, _settings: KafkaLog) -> str:
    return "no answer in time. Check the address, and that no firewall is in between."


def _not_ready(_exc: BaseException, _settings: KafkaLog) -> str:
    return "its brokers do not answer."


def _not_trusted(exc: BaseException, _settings: KafkaLog) -> str:
    said = exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else exc
    return (
        f"its certificate is not trusted ({said}). Check 'authority' of 'tls' of 'kafka', and that the broker's name "
        "stands in the certificate."
    )


def _no_handshake(exc: BaseException, _settings: KafkaLog) -> str:
    said = exc.reason if isinstance(exc, ssl.SSLError) and exc.reason else exc
    return f"the TLS handshake failed ({said}). Is that its port for TLS, and does it want our certificate?"


def _closed(_exc: BaseException, settings: KafkaLog) -> str:
    if settings.tls is None:
        guess = "Does this port want TLS (then write 'tls: {}' under 'kafka')"
    else:
        guess = "Is that its port for TLS"
    login = "" if settings.login is not None else ", does it want a 'login'"
    return f"it closed the connection. {guess}{login}, and is it Kafka at all?"


def _too_few_copies(_exc: BaseException, settings: KafkaLog) -> str:
    return (
        f"fewer copies are in sync than the topic asks for ('in_sync' is {settings.in_sync_min} here): brokers of the "
        "cluster are away, or behind."
    )


_SENTENCES: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[..., str]], ...]] = (
    (TopicAuthorizationFailedError, _topics_not_allowed),
    (GroupAuthorizationFailedError, _group_not_allowed),
    (ClusterAuthorizationFailedError, _cluster_not_allowed),
    (SaslAuthenticationFailed, _wrong_login),
    (UnsupportedSaslMechanismError, _other_mechanism),
    (IllegalSaslStateError, _no_login_wanted),
    ((NotEnoughReplicasError, NotEnoughReplicasAfterAppendError), _too_few_copies),
    (socket.gaierror, _unknown_name),
    (ConnectionRefusedError, _nobody_there),
    (ssl.SSLCertVerificationError, _not_trusted),
    (ssl.SSLError, _no_handshake),
    ((ConnectionResetError, KafkaConnectionError), _closed),
    ((TimeoutError, RequestTimedOutError), _no_answer),
    (NodeNotReadyError, _not_ready),
)
"""The first kind that fits counts: an ``SSLCertVerificationError`` is an ``SSLError``."""


def elsewhere(failure: BaseException | None, settings: KafkaLog, advertised: list[str]) -> str:
    """The sentence for a cluster that answers, and whose brokers give addresses at which they cannot be reached."""
    if not isinstance(failure, (NodeNotReadyError, KafkaConnectionError)) or set(advertised) <= set(settings.brokers):
        return ""
    return (
        f"it answers, and names its brokers {', '.join(advertised)}, which cannot be reached from here. Check "
        "advertised.listeners of the brokers."
    )


def _who(settings: KafkaLog) -> str:
    return "a client without a login" if settings.login is None else f"the user {settings.login.user!r}"


def _allow_topics(settings: KafkaLog) -> str:
    return _allow(settings, _TOPIC_OPERATIONS, f"--topic {OWN_NAMES}")


def _allow(settings: KafkaLog, operations: tuple[str, ...], resource: str) -> str:
    if settings.login is not None:
        principal = settings.login.user
    else:  # with a client certificate, its subject
        principal = "ANONYMOUS" if settings.tls is None or settings.tls.certificate is None else "CN=…"
    allowed = " ".join(f"--operation {operation}" for operation in operations)
    return (
        f"kafka-acls.sh --bootstrap-server {settings.brokers[0]} --add --allow-principal User:{principal} {allowed} "
        f"{resource} --resource-pattern-type prefixed"
    )
