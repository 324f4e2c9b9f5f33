"""A reference leads to its secret, and whatever goes wrong on the way is said without the secret."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from connectors.ports.secrets import SECRET_BYTES_MAX, SOURCE_IN_CONTEXT, Secret, SecretSource


class Account(BaseModel):
    password: Secret | None = None


@pytest.fixture
def source(tmp_path: Path) -> SecretSource:
    (tmp_path / "credentials").mkdir()
    return SecretSource(
        {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "NAME": "value", "EMPTY": ""}, tmp_path
    )


def test_an_environment_variable(source: SecretSource) -> None:
    assert source.resolve("${env:NAME}") == SecretStr("value")


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"open sesame", "open sesame"),
        (b"open sesame\n", "open sesame"),
        (b"open sesame\r\n", "open sesame"),
        (b" two lines\n\n", " two lines\n"),
        ("Grüße".encode(), "Grüße"),
        (b"x" * SECRET_BYTES_MAX, "x" * SECRET_BYTES_MAX),
    ],
)
def test_a_file_without_the_line_break_at_its_end(
    source: SecretSource, tmp_path: Path, content: bytes, secret: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "credentials/name").write_bytes(content)
    assert source.resolve("${file:file}").get_secret_value() == secret
    assert source.resolve(f"${{file:{tmp_path}/file}}").get_secret_value() == secret
    assert source.resolve("${credential:name}").get_secret_value() == secret


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("${env:OTHER}", "the environment variable 'OTHER' is not set, or empty"),
        ("${env:EMPTY}", "the environment variable 'EMPTY' is not set, or empty"),
        ("${file:none}", "the file '{folder}/none' cannot be read: No such file or directory"),
        ("${file:credentials}", "'{folder}/credentials' is not a file"),
        ("${file:pipe}", "'{folder}/pipe' is not a file"),
        ("${file:empty}", "the file '{folder}/empty' is empty"),
        ("${file:large}", "the file '{folder}/large' does not hold a secret: it is larger than 64 KiB, or not UTF-8 text"),  # noqa: E501
        ("${file:binary}", "the file '{folder}/binary' does not hold a secret: it is larger than 64 KiB, or not UTF-8 text"),  # noqa: E501
        ("${credential:none}", "the file '{folder}/credentials/none' cannot be read: No such file or directory"),
        ("${credential:../empty}", "'../empty' is not the name of a credential; it has no '/'"),
        ("${credential:..}", "'..' is not the name of a credential; it has no '/'"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere(source: SecretSource, tmp_path: Path, reference: str, said: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "large").write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"^{re.escape(said.replace('{folder}', str(tmp_path)))}$"):
        source.resolve(reference)


@pytest.mark.parametrize(
    "text", ["hunter2", "", "${hunter2}", "${pass:hunter2}", "$hunter2", "x${env:NAME}", "${env:}", "${file:a\0b}"]
)
def test_what_is_no_reference_is_refused_and_not_repeated(source: SecretSource, text: str) -> None:
    with pytest.raises(ValueError, match="a secret does not stand in this file; write a reference") as caught:
        source.resolve(text)
    assert "hunter2" not in str(caught.value)


def test_without_systemd_there_are_no_credentials() -> None:
    with pytest.raises(ValueError, match="this process has no credentials, so none is called 'x'"):
        SecretSource({}).resolve("${credential:x}")


def test_a_field_takes_a_reference_or_a_secret_from_code(source: SecretSource) -> None:
    read = Account.model_validate({"password": "${env:NAME}"}, context={SOURCE_IN_CONTEXT: source})
    assert read.password == SecretStr("value")
    assert "value" not in repr(read)
    assert Account(password=SecretStr("other")).password == SecretStr("other")


def test_without_a_context_the_environment_of_the_process_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_TEST_SECRET", "open sesame")
    assert Account.model_validate({"password": "${env:LINESIDE_TEST_SECRET}"}).password == SecretStr("open sesame")


@pytest.mark.parametrize("value", ["hunter2", 4711, ["hunter2"], True])
def test_a_field_takes_nothing_else(value: object) -> None:
    with pytest.raises(ValidationError, match="a secret does not stand in this file"):
        Account.model_validate({"password": value})


def test_a_wrong_context_is_a_defect_of_the_caller() -> None:
    with pytest.raises(TypeError, match="is a SecretSource"):
        Account.model_validate({"password": "${env:NAME}"}, context={SOURCE_IN_CONTEXT: {"NAME": "value"}})
