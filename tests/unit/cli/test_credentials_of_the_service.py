"""A file whose secrets systemd gives to the service is looked at by people, to whom it gives none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cloud_ingest.cli.app import app as cloud_app
from edge_agent.cli.app import whole_app

FILE = """\
agent: {group: plant, name: line, data_dir: data}
uplink: {brokers: [mqtts://127.0.0.1:1], user: line, password: "${credential:broker}"}
outbox: {encryption: {key: "${credential:outbox-key}"}}
devices:
  - name: press
    driver: opcua
    endpoint: opc.tcp://127.0.0.1:1
    security: {user: operator, password: "${credential:press}"}
    tags:
      - {name: force, at: ns=2;s=force}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "agent.yaml"
    path.write_text(FILE)
    return path


def edge_agent(*words: str | Path) -> Result:
    return CliRunner().invoke(whole_app(), [*map(str, words)])


def test_check_says_which_credentials_it_has_not_looked_at(config: Path) -> None:
    done = edge_agent("check", "-c", config)
    assert done.exit_code == 0, done.output
    assert "systemd gives them to the service alone: 'broker', 'outbox-key' and 'press'" in " ".join(
        done.stdout.split()
    )
    found = json.loads(edge_agent("check", "-c", config, "--json").stdout)
    assert (found["valid"], found["unseen_credentials"]) == (True, ["broker", "outbox-key", "press"])


def test_what_is_wrong_besides_is_still_told(config: Path) -> None:
    config.write_text(FILE.replace("ns=2;s=force", "nowhere"))
    done = edge_agent("check", "-c", config)
    assert (done.exit_code, "agent.yaml:10:" in done.stderr) == (1, True)


def test_where_credentials_are_given_they_are_looked_at(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = config.parent / "secrets"
    folder.mkdir()
    for name in ("broker", "press"):
        (folder / name).write_text("a secret\n")
    (folder / "outbox-key").write_text("no key\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    done = edge_agent("check", "-c", config)
    assert (done.exit_code, "what the reference leads to is not base64" in " ".join(done.stderr.split())) == (1, True)


def test_doctor_and_the_table_of_tags_need_none(config: Path) -> None:
    findings = json.loads(edge_agent("doctor", "-c", config, "--json").stdout)
    (said,) = [one for one in findings if one["area"] == "config"]
    assert said["state"] == "ok"
    assert said["said"].endswith("as the service alone has them: 'broker', 'outbox-key' and 'press'")
    assert edge_agent("export-tags", config.parent / "tags.csv", "-c", config).exit_code == 0


def test_who_connects_needs_them_and_is_told_which(config: Path) -> None:
    done = edge_agent("check", "--online", "-c", config)
    assert (done.exit_code, "none is called 'press'" in " ".join(done.stderr.split())) == (1, True)


def test_a_file_of_the_cloud_side_is_checked_by_hand_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "cloud.yaml"
    path.write_text("""\
ingest: {brokers: [mqtts://127.0.0.1:1], user: lineside, password: "${credential:broker}"}
database: {host: db.example, tls: verify-full, name: lineside, user: lineside, password: "${credential:database}"}
identity: {issuer: https://lineside.example, secret: "${credential:logins}"}
""")
    done = CliRunner().invoke(cloud_app, ["check", "-c", str(path)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert said.endswith("systemd gives them to the service alone: 'broker', 'database' and 'logins'")
    migrating = CliRunner().invoke(cloud_app, ["migrate", "-c", str(path)])
    assert (migrating.exit_code, "none is called 'database'" in " ".join(migrating.stderr.split())) == (1, True)
