"""Where releases come from: encrypted unless said otherwise, with keys, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.model.errors import ConfigInvalid
from edge_agent.config.load import load_config
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers

START = "agent: {group: plant, name: line}\nuplink: {brokers: ['mqtts://broker.example']}\n"


def loaded(folder: Path, section: str) -> AgentConfig:
    path = folder / "agent.yaml"
    path.write_text(START + section)
    return load_config(path, built_in_drivers())


def test_the_keys_lie_beside_the_file_of_the_agent(tmp_path: Path) -> None:
    found = loaded(tmp_path, "releases: {url: 'https://cloud.example', keys: release-keys.json}\n").releases
    assert found is not None
    assert (found.keys, found.keep) == (tmp_path / "release-keys.json", 3)
    assert loaded(tmp_path, "").releases is None
    plain = loaded(tmp_path, "releases: {url: 'http://cloud.example', insecure: true, keys: k.json}\n").releases
    assert plain is not None
    assert plain.insecure


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{url: 'http://cloud.example', keys: k.json}", "not encrypted"),
        ("{url: 'https://cloud.example'}", "keys"),
        ("{url: 'ftp://cloud.example', keys: k.json}", "url"),
        ("{url: 'https://user:secret@cloud.example', keys: k.json}", "url"),
        ("{url: 'https://cloud.example', keys: k.json, keep: 1}", "keep"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(tmp_path: Path, section: str, says: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(tmp_path, f"releases: {section}\n")
    (problem,) = caught.value.problems
    assert (problem.line, says in str(problem)) == (3, True), str(problem)
