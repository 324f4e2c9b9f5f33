"""The keys of the outbox: by reference, 32 bytes in base64, and whatever is wrong is said without them."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from broken_config_files import HEAD, SECRET

from connectors.model.errors import ConfigInvalid
from edge_agent.config.load import load_config
from edge_agent.config.models import AgentConfig
from edge_agent.config.places import agent_name, data_dir, outbox_keys
from edge_agent.drivers import built_in_drivers

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ENVIRON = {
    "KEY": b64encode(KEY).decode(),
    "OTHER": b64encode(OTHER).decode(),
    "SHORT": b64encode(b"eleven byte").decode(),
    "WORDS": "open sesame",
}
NEW_KEY = "Write a reference to a key that 'edge-agent buffer new-key' has printed."


def load(folder: Path, outbox: str) -> AgentConfig:
    path = folder / "agent.yaml"
    path.write_text(f"{HEAD}outbox: {outbox}\n")
    return load_config(path, built_in_drivers(), environ=ENVIRON)


def test_the_key_of_new_rows_and_those_of_older_ones(tmp_path: Path) -> None:
    found = load(tmp_path, "{encryption: {key: '${env:KEY}', previous_keys: ['${env:OTHER}']}}").outbox.encryption
    assert found is not None
    assert (found.key_bytes(), found.previous_key_bytes()) == (KEY, (OTHER,))
    assert ENVIRON["KEY"] not in repr(found)


def test_encryption_is_off_without_the_section_and_with_previous_keys_alone(tmp_path: Path) -> None:
    assert load(tmp_path, "{}").outbox.encryption is None
    found = load(tmp_path, "{encryption: {previous_keys: ['${env:KEY}']}}").outbox.encryption
    assert found is not None
    assert (found.key_bytes(), found.previous_key_bytes()) == (None, (KEY,))


@pytest.mark.parametrize(
    ("outbox", "said"),
    [
        (
            "{encryption: {key: '${env:SHORT}'}}",
            ["3:28: 'key' of 'encryption' of 'outbox': what the reference leads to is 11 bytes in base64, and a key "
             f"has 32. {NEW_KEY}"],
        ),
        (
            "{encryption: {key: '${env:KEY}', previous_keys: ['${env:OTHER}', '${env:WORDS}']}}",
            ["3:74: entry 2 of 'previous_keys' of 'encryption' of 'outbox': what the reference leads to is not base64. "
             f"{NEW_KEY}"],
        ),
        (
            f"{{encryption: {{key: {ENVIRON['KEY']}}}}}",
            [f"3:28: 'key' of 'encryption' of 'outbox': a secret does not stand in this file. {SECRET}"],
        ),
        (
            "{encryption: {}}",
            ["3:22: 'encryption' of 'outbox': it names no key, so nothing would be encrypted. Add 'key', or write "
             "'previous_keys' alone to turn encryption off."],
        ),
        (
            "{encryption: }",
            ["3:22: 'encryption' of 'outbox': it is empty, so nothing would be encrypted. Add 'key', or remove the "
             "line."],
        ),
        (
            "{encryption: {key: '${credential:outbox-key}'}}",
            ["3:28: 'key' of 'encryption' of 'outbox': this process has no credentials, so none is called "
             "'outbox-key'. Write LoadCredential=outbox-key:/path into its systemd unit, or use ${file:/path}."],
        ),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_used_is_named_with_its_place(tmp_path: Path, outbox: str, said: list[str]) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, outbox)
    assert [str(problem).removeprefix(f"{tmp_path}/agent.yaml:") for problem in caught.value.problems] == said
    assert not any(secret in str(caught.value) for secret in ENVIRON.values())


def test_a_command_finds_keys_name_and_folder_in_a_file_that_is_wrong_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "agent: {group: plant-7, name: line-3, data_dir: data}\n"
        "uplink: nonsense\n"
        "outbox: {size_max: many, encryption: {key: '${env:KEY}'}}\n"
    )
    keys = outbox_keys(path, ENVIRON)
    assert keys is not None
    assert keys.key_bytes() == KEY
    assert (agent_name(path), data_dir(path)) == ("plant-7/line-3", tmp_path / "data")
    path.write_text("agent: {group: plant-7}\n")
    assert (outbox_keys(path, ENVIRON), agent_name(path), data_dir(path)) == (None, "", Path("/var/lib/lineside"))
    path.write_text("outbox:\n  encryption: {key: '${env:SHORT}'}\n")
    with pytest.raises(ConfigInvalid, match=r"agent\.yaml:2:21: 'key' of 'encryption' of 'outbox': what the reference"):
        outbox_keys(path, ENVIRON)
