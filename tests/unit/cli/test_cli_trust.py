"""``edge-agent trust`` where no agent runs: certificates are listed, accepted, rejected, and its own is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from connectors.trust.certificates import thumbprint_of
from connectors.trust.store import SeenServer, TrustStore
from edge_agent.cli.trust import app
from tests.unit.trust.made_certificates import certificate, der, pem

ENDPOINT = "opc.tcp://press.plant:4840"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text("agent: {group: plant, name: line, data_dir: data}\n")
    (tmp_path / "data").mkdir()
    return path


@pytest.fixture
def waiting(config: Path) -> str:
    """The thumbprint of a certificate that the press has shown, and nobody accepted; it had another before."""
    press = der(certificate())
    store = TrustStore(config.parent / "data" / "opcua")
    store.keep_rejected(press)
    store.note(SeenServer("press", ENDPOINT, thumbprint_of(press), "AB" * 20, ("nobody has accepted it",)))
    return thumbprint_of(press)


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(config)])


def test_what_waits_is_listed_with_what_to_run(config: Path, waiting: str) -> None:
    said = run(config, "list").output
    assert f"rejected  {waiting}" in said
    assert f"press {ENDPOINT}" in said
    assert f"it has changed; before, it was {'AB' * 20}" in said
    assert f"edge-agent trust accept {waiting[:12]}" in said


def test_it_is_accepted_and_rejected_again(config: Path, waiting: str) -> None:
    store = TrustStore(config.parent / "data" / "opcua")
    assert "trusted from now on" in run(config, "accept", waiting[:12]).output
    assert store.is_accepted(der_of_entry(store))
    assert "not trusted any more" in run(config, "reject", waiting).output
    assert not store.is_accepted(der_of_entry(store))


def der_of_entry(store: TrustStore) -> bytes:
    (entry,) = store.entries()
    return entry.path.read_bytes()


def test_a_file_is_accepted(config: Path, tmp_path: Path) -> None:
    (tmp_path / "press.pem").write_bytes(pem(certificate()))
    assert (
        json.loads(run(config, "accept", "--file", str(tmp_path / "press.pem"), "--json").output)["state"] == "trusted"
    )


def test_programs_read_the_same(config: Path, waiting: str) -> None:
    run(config, "own")
    document = json.loads(run(config, "list", "--json").output)
    (entry,) = document["certificates"]
    assert (entry["state"], entry["thumbprint"]) == ("rejected", waiting)
    assert entry["servers"][0]["changed"] is True
    assert document["own"]["application_uri"].endswith(":lineside:plant:line")


def test_nothing_to_list_is_said(config: Path) -> None:
    assert run(config, "list").output == "no server has shown a certificate yet\n"


@pytest.mark.parametrize("words", [["accept", "0" * 40], ["reject", "0" * 40], ["accept", "--file", "/none"]])
def test_what_is_not_there_ends_with_a_sentence(config: Path, words: list[str]) -> None:
    found = run(config, *words)
    assert found.exit_code == 1
    assert "Traceback" not in found.output


@pytest.mark.parametrize("words", [["accept"], ["accept", "0" * 40, "--file", "/none"]])
def test_one_certificate_is_accepted_at_a_time(config: Path, words: list[str]) -> None:
    assert run(config, *words).exit_code == 2


def test_the_own_certificate_is_made_once_and_renewed_when_a_person_says_so(config: Path) -> None:
    first = json.loads(run(config, "own", "--json").output)
    assert Path(first["path"]).exists()
    assert json.loads(run(config, "own", "--json").output) == first
    renewed = run(config, "own", "--renew")
    assert "….before" in renewed.output
    assert json.loads(run(config, "own", "--json").output)["thumbprint"] != first["thumbprint"]


def test_an_agent_without_name_has_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("agent: {data_dir: data}\n")
    found = run(path, "own")
    assert found.exit_code == 1
    assert "no group or name" in found.output


def test_what_a_server_calls_itself_reaches_no_terminal_as_a_command(config: Path) -> None:
    store = TrustStore(config.parent / "data" / "opcua")
    press = certificate(name="press\x1b[2J")
    store.keep_rejected(der(press))
    assert "\x1b" not in run(config, "list").output
