"""The cloud side's file: what it may say, and what is said of everything else, literally."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from cloud_ingest.config import CloudConfig, DatabaseSettings, GatewaySettings, load_cloud_config
from connectors.model.errors import ConfigInvalid

EXAMPLE = Path(__file__).parents[3] / "config/examples/cloud.yaml"
INGEST = "ingest: {brokers: [mqtts://broker:8883]}\n"
HEAD = INGEST + "database: {tls: verify-full}\n"
DATABASE = INGEST + "database: {tls: verify-full, %s}\n"
KAFKA = HEAD + "event_log: {kafka: {brokers: [kafka:9093], %s}}\n"
SECRET = "Write a reference to it: ${credential:NAME}, ${file:/path} or ${env:NAME}."
ADDRESS = "Write it as db.plant-7.example or 10.0.0.5."

BROKEN: dict[str, tuple[str, list[str]]] = {
    "nothing": ("", ["1:1: the file is empty. Write a value."]),
    "no database": (INGEST, ["1:1: the file needs 'database'. Add 'database': {host: …, password: …}."]),
    "no ingest": (
        "database: {tls: verify-full}\n",
        ["1:1: the file needs 'ingest'. Add 'ingest': {brokers: [mqtts://host:8883]}."],
    ),
    "empty sections": (
        "ingest:\ndatabase:\n",
        ["1:1: 'ingest' is empty. Write a value.", "2:1: 'database' is empty. Write a value."],
    ),
    "a list": ("- a\n", ["1:1: the file has to be a group of settings (key: value), not a list. Remove the '- '."]),
    "gRPC for others without TLS": (
        HEAD + "grpc: {host: 0.0.0.0}\n",
        [
            "3:14: 'host' of 'grpc': whoever is on the way to '0.0.0.0' can read tokens and answers: the gRPC API has "
            "no TLS. Add 'tls: {certificate: …, key: …}', or allow it with 'insecure: true'."
        ],
    ),
    "gRPC for others without a login": (
        HEAD + "gateway: {login: open}\ngrpc: {host: 0.0.0.0, tls: {certificate: a, key: b}}\n",
        [
            "4:14: 'host' of 'grpc': whoever reaches '0.0.0.0' can read everything: 'gateway' asks for no login. Write "
            "'login: required' under 'gateway', or allow it with 'insecure: true' here."
        ],
    ),
    "a misspelt section": (HEAD + "gatway: {port: 80}\n", ["3:1: unknown key 'gatway'. Did you mean 'gateway'?"]),
    "a section twice": (
        HEAD + "gateway: {port: 80}\ngateway: {port: 81}\n",
        ["4:1: the key 'gateway' is here a second time; the first is in line 3. Remove one of them."],
    ),
    "a database without TLS": (
        INGEST + "database: {host: db}\n",
        [
            "2:11: 'database': the connection to PostgreSQL is not encrypted. "
            "Add 'tls: verify-full', or allow it with 'insecure: true'."
        ],
    ),
    "a broker without TLS": (
        "ingest: {brokers: [mqtts://a, mqtt://b]}\ndatabase: {tls: verify-full}\n",
        [
            "1:31: entry 2 of 'brokers' of 'ingest': 'mqtt://b' is not encrypted: anybody on the network can read and "
            "change what is sent. Write mqtts://, or allow it with 'insecure: true' beside 'brokers'."
        ],
    ),
    "a kind of TLS that does not exist": (
        INGEST + "database: {tls: full}\n",
        ["2:17: 'tls' of 'database' cannot be 'full'. It can be 'verify-full', 'verify-ca' or 'require'."],
    ),
    "a port with the host": (
        DATABASE % "host: db:5433",
        ["2:36: 'host' of 'database': 'db:5433' is not the name or address of a host. Write the port under 'port'."],
    ),
    "a socket as the host": (
        DATABASE % "host: /var/run/postgresql",
        [f"2:36: 'host' of 'database': '/var/run/postgresql' is not the name or address of a host. {ADDRESS}"],
    ),
    "an address as the host": (
        DATABASE % "host: postgresql://db",
        [f"2:36: 'host' of 'database': 'postgresql://db' is not the name or address of a host. {ADDRESS}"],
    ),
    "no host": (
        DATABASE % "host: ''",
        ["2:36: 'host' of 'database' is empty. Write a value, or remove the line."],
    ),
    "a port out of range": (
        DATABASE % "port: 99999",
        ["2:36: 'port' of 'database' cannot be 99999. Write at most 65535."],
    ),
    "a port as text": (
        DATABASE % "port: '5432'",
        ["2:36: 'port' of 'database' has to be a whole number, not the text '5432'. Remove the quotes."],
    ),
    "too few connections": (
        DATABASE % "connections_max: 1",
        ["2:47: 'connections_max' of 'database' cannot be 1. Write at least 6."],
    ),
    "a password in the file": (
        DATABASE % "password: open sesame",
        [f"2:40: 'password' of 'database': a secret does not stand in this file. {SECRET}"],
    ),
    "a password that is not there": (
        DATABASE % "password: '${env:LINESIDE_NO_SUCH_PASSWORD}'",
        ["2:40: 'password' of 'database': the environment variable 'LINESIDE_NO_SUCH_PASSWORD' is not set, or empty."],
    ),
    "an open API": (
        HEAD + "gateway: {host: 0.0.0.0}\n",
        [
            "3:17: 'host' of 'gateway': whoever is on the way to '0.0.0.0' can read tokens and answers: "
            "the API has no TLS. Write 127.0.0.1 and put a proxy with TLS before it, or allow it with 'insecure: true'."
        ],
    ),
    "an API on a host with spaces": (
        HEAD + "gateway: {host: ' localhost '}\n",
        [f"3:17: 'host' of 'gateway': ' localhost ' is not the name or address of a host. {ADDRESS}"],
    ),
    "Kafka without TLS": (
        HEAD + "event_log: {kafka: {brokers: [kafka:9092]}}\n",
        [
            "3:20: 'kafka' of 'event_log': the connection to Kafka has no TLS; "
            "add tls: {}, or insecure: true if that is meant."
        ],
    ),
    "a Kafka broker without a port": (
        HEAD + "event_log: {kafka: {brokers: [kafka], insecure: true}}\n",
        ["3:30: 'brokers' of 'kafka' of 'event_log': 'kafka' is not the address of a broker. Write it as host:9093."],
    ),
    "more copies than there are": (
        KAFKA % "tls: {}, in_sync: 4",
        ["3:20: 'kafka' of 'event_log': in_sync: 4 can never be reached with replication: 3."],
    ),
    "a login without a password": (
        KAFKA % "tls: {}, login: {user: lineside}",
        ["3:53: 'login' of 'kafka' of 'event_log' needs 'password'. Add 'password'."],
    ),
    "durations": (
        HEAD + "event_log: {retention: 10}\nhistorian: {retention: 1h}\n",
        [
            "3:24: 'retention' of 'event_log': 10 is not a duration. "
            "Write a number with a unit, such as 100ms, 5s, 2m, 1h or 7d.",
            "4:24: 'retention' of 'historian' cannot be 1h. Write at least 1d.",
        ],
    ),
    "an ingest that goes wrong in every way": (
        "ingest:\n  brokers: [mqtts://b]\n  acknowledge: stored\n  ack_interval: 20s\n  pending_max: 1kB\n  host: a/b\n"
        "database: {tls: verify-full}\n",
        [
            "3:16: 'acknowledge' of 'ingest' cannot be 'stored'. It can be 'logged', 'projected' or 'auto'.",
            "4:17: 'ack_interval' of 'ingest' cannot be 20s. Write at most 10s.",
            "5:16: 'pending_max' of 'ingest' cannot be 1kB. Write at least 1MB.",
            "6:9: 'host' of 'ingest': 'a/b' cannot be used as a Sparkplug id: "
            "it contains '/', which Sparkplug keeps for itself.",
        ],
    ),
    "metrics without a port, and logs of no known kind": (
        HEAD + "observability: {metrics: {host: 0.0.0.0}, log_level: debgu, log_format: text}\n",
        [
            "3:17: 'metrics' of 'observability' needs 'port'. Add 'port'.",
            "3:54: 'log_level' of 'observability' cannot be 'debgu'. "
            "Did you mean 'debug'? It can be 'debug', 'info', 'warning' or 'error'.",
            "3:73: 'log_format' of 'observability' cannot be 'text'. It can be 'json' or 'console'.",
        ],
    ),
    "yes": (
        HEAD + "historian: {publish_samples: yes}\n",
        [
            "3:30: 'publish_samples' of 'historian' has to be true or false, not the text 'yes'. Did you mean true?",
        ],
    ),
    "no partitions": (
        HEAD + "event_log: {partitions: 0}\n",
        ["3:25: 'partitions' of 'event_log' cannot be 0. Write at least 1."],
    ),
}


def load(text: str, folder: Path) -> CloudConfig:
    path = folder / "cloud.yaml"
    path.write_text(text)
    return load_cloud_config(path)


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_said_of_a_broken_file(case: str, tmp_path: Path) -> None:
    text, expected = BROKEN[case]
    with pytest.raises(ConfigInvalid) as caught:
        load(text, tmp_path)
    assert [str(problem).removeprefix(f"{tmp_path}/cloud.yaml:") for problem in caught.value.problems] == expected
    assert "sesame" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_cloud_config(tmp_path / "cloud.yaml")
    assert str(caught.value) == f"{tmp_path}/cloud.yaml: the file cannot be read: No such file or directory."


def test_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    text = (
        "ingest: {brokers: [mqtts://b], ca_file: mqtt.pem}\n"
        "database: {tls: verify-ca, ca_file: db.pem}\n"
        "event_log: {kafka: {brokers: [k:1], tls: {authority: ca.pem, certificate: /etc/me.pem, key: me.key}}}\n"
    )
    config = load(text, tmp_path)
    assert config.ingest.ca_file == tmp_path / "mqtt.pem"
    assert config.database.ca_file == tmp_path / "db.pem"
    assert config.event_log.kafka is not None
    tls = config.event_log.kafka.tls
    assert tls is not None
    assert (tls.authority, tls.certificate, tls.key) == (tmp_path / "ca.pem", Path("/etc/me.pem"), tmp_path / "me.key")


def test_the_shortest_file_has_safe_defaults(tmp_path: Path) -> None:
    config = load(HEAD, tmp_path)
    assert (config.gateway.host, config.gateway.insecure) == ("127.0.0.1", False)
    assert config.ingest.acknowledge == "auto"
    assert config.event_log.kafka is None
    assert not config.historian.publish_samples
    assert config.observability.metrics is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_an_api_on_this_machine_needs_no_permission(host: str) -> None:
    assert GatewaySettings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "api.example", "127.0.0.1.example"])
def test_an_api_for_others_needs_permission(host: str) -> None:
    with pytest.raises(ValidationError, match="the API has no TLS"):
        GatewaySettings(host=host)
    with pytest.raises(ValidationError, match="the API asks for no login"):
        GatewaySettings(host=host, login="open")
    assert GatewaySettings(host=host, insecure=True).host == host


@pytest.mark.parametrize(
    ("settings", "here", "elsewhere"),
    [
        ({}, True, False),
        ({"host": "0.0.0.0", "insecure": True}, False, False),
        ({"login": "required"}, False, False),
        ({"login": "open"}, True, True),
        ({"host": "0.0.0.0", "insecure": True, "login": "open"}, True, True),
    ],
)
def test_without_a_token_nobody_reads_from_elsewhere_unless_it_is_said(
    settings: dict[str, Any], here: bool, elsewhere: bool
) -> None:
    made = GatewaySettings.model_validate(settings)
    assert (made.is_open_on_this_machine, made.is_open_to_all) == (here, elsewhere)


def test_where_people_log_in_nothing_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_SECRET", "0123456789" * 4)
    identity = "identity: {issuer: 'https://lineside.example', secret: '${env:LINESIDE_SECRET}'}\n"
    (tmp_path / "cloud.yaml").write_text(HEAD + identity + "gateway: {login: open}\n")
    with pytest.raises(ConfigInvalid, match="nobody asks without a token"):
        load_cloud_config(tmp_path / "cloud.yaml")


@pytest.mark.parametrize("origin", ["*", "https://*", "https://a.example/path", "a.example", "https://*.example"])
def test_web_pages_that_may_ask_are_named_one_by_one(origin: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(cors_origins=(origin,))
    assert GatewaySettings(cors_origins=("https://hmi.example:8443",)).cors_origins == ("https://hmi.example:8443",)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, False),
        ({"insecure": False}, False),
        ({"insecure": True}, True),
        ({"tls": "require"}, True),
        ({"tls": "verify-full", "insecure": True}, True),
        ({"ca_file": "/ca.pem"}, False),
    ],
)
def test_a_database_is_encrypted_or_explicitly_not(settings: dict[str, Any], allowed: bool) -> None:
    if allowed:
        assert DatabaseSettings.model_validate(settings)
    else:
        with pytest.raises(ValidationError, match="is not encrypted"):
            DatabaseSettings.model_validate(settings)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)


@given(
    st.sampled_from(["db", "10.0.0.5", "::1", "fe80::1", "db.plant-7.example"]),
    st.integers(1, 65_535),
    TEXTS,
    TEXTS,
    TEXTS,
    st.sampled_from([None, "require", "verify-full"]),
)
def test_the_address_carries_every_name_and_password_as_it_is(
    host: str, port: int, name: str, user: str, password: str, tls: Any
) -> None:
    settings = DatabaseSettings(
        host=host, port=port, name=name, user=user, password=SecretStr(password), tls=tls, insecure=True, ca_file="/a&b"
    )
    parts = urlsplit(settings.dsn)
    assert (parts.scheme, parts.hostname, parts.port) == ("postgresql", host, port)
    assert unquote(parts.username or "") == user
    assert unquote(parts.password or "") == password
    assert unquote(parts.path) == f"/{name}"
    options = {key: values[0] for key, values in parse_qs(parts.query).items()}
    assert options == ({"sslmode": "disable"} if tls is None else {"sslmode": tls, "sslrootcert": "/a&b"})


def test_a_database_without_a_password_has_none_in_its_address() -> None:
    assert DatabaseSettings(insecure=True).dsn == "postgresql://lineside@127.0.0.1:5432/lineside?sslmode=disable"


def test_no_secret_is_shown() -> None:
    settings = DatabaseSettings(insecure=True, password=SecretStr("open sesame"))
    assert "sesame" not in repr(settings) + str(settings)


@pytest.mark.sparkplug("tck-id-operational-behavior-host-reordering-param")
def test_the_reorder_timeout_is_a_setting_and_0_is_none(tmp_path: Path) -> None:
    found = []
    for text in (HEAD, HEAD + "historian: {reorder_timeout: 500ms}\n", HEAD + "historian: {reorder_timeout: 0s}\n"):
        (tmp_path / "cloud.yaml").write_text(text)
        found.append(load_cloud_config(tmp_path / "cloud.yaml").historian.reorder_timeout_s)
    assert found == [2.0, 0.5, 0.0]


def test_the_example_can_be_loaded_and_shows_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broker", "database", "kafka"):
        (tmp_path / name).write_text(f"{name} secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = load_cloud_config(EXAMPLE)
    assert config.ingest.password is not None
    assert config.ingest.password.get_secret_value() == "broker secret"
    assert config.event_log.kafka is not None
    assert config.event_log.kafka.login is not None
    assert config.grpc is not None
    assert config.grpc.tls is not None
    shown = {
        "ingest": config.ingest,
        "database": config.database,
        "event_log": config.event_log,
        "kafka": config.event_log.kafka,
        "historian": config.historian,
        "gateway": config.gateway,
        "grpc": config.grpc,
        "grpc tls": config.grpc.tls,
        "observability": config.observability,
    }
    left_out = {
        name: sorted(set(type(section).model_fields) - section.model_fields_set) for name, section in shown.items()
    }
    assert {name: fields for name, fields in left_out.items() if fields} == {
        "ingest": ["cert_file", "insecure", "key_file"],
        "database": ["insecure"],
        "kafka": ["insecure"],
        "gateway": ["insecure"],
        "grpc": ["insecure"],
    }
