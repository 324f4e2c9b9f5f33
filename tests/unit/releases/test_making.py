"""``lineside release``: keys, signatures, and what a package is made of; building from the tree needs a registry."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest
from lineside.release_cli import app
from lineside.releases import ReleaseNotMade, describe, make_key, read_key, schemas_of, sign_anew
from typer.testing import CliRunner

from connectors.commands.signing import TrustedKeys
from connectors.releases.manifest import ReleaseInvalid, Schemas
from connectors.releases.package import file_sha256, look_into, verified, write_package
from tests.unit.releases.packages import KEY, KEYS, OTHER, package


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def test_a_key_is_its_owner_s_alone_and_what_boxes_get_of_it_is_public(tmp_path: Path) -> None:
    public = make_key(tmp_path / "key.jwk")
    key = read_key(tmp_path / "key.jwk")
    assert list(public["keys"]) == [key.key_id]
    assert "d" not in public["keys"][key.key_id]
    assert stat.S_IMODE((tmp_path / "key.jwk").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key.jwk")
    for text in ("", "{}", json.dumps(public["keys"][key.key_id])):
        (tmp_path / "other.jwk").write_text(text)
        with pytest.raises(ReleaseNotMade):
            read_key(tmp_path / "other.jwk")


def test_the_same_release_is_signed_anew_by_the_key_that_boxes_trust(tmp_path: Path) -> None:
    built, signed = package(tmp_path), tmp_path / "signed.zip"
    make_key(tmp_path / "key.jwk")
    key = read_key(tmp_path / "key.jwk")
    sha256 = sign_anew(built, signed, key, built_by=KEYS)
    assert sha256 == file_sha256(signed)
    keys = TrustedKeys({key.key_id: key.public_jwk()})
    assert verified(signed, keys, sha256=sha256) == verified(built, KEYS)
    with pytest.raises(ReleaseInvalid):
        verified(signed, KEYS)


def test_what_is_not_as_its_manifest_says_is_not_signed(tmp_path: Path) -> None:
    built = package(tmp_path)
    built.write_bytes(built.read_bytes().replace(b"lineside itself", b"lineside itselF"))
    make_key(tmp_path / "key.jwk")
    with pytest.raises(ReleaseInvalid):
        sign_anew(built, tmp_path / "signed.zip", read_key(tmp_path / "key.jwk"), built_by=KEYS)
    assert not (tmp_path / "signed.zip").exists()


def test_only_what_those_who_build_have_signed_is_signed(tmp_path: Path) -> None:
    key, keys, signed = tmp_path / "key.jwk", tmp_path / "build-keys.json", tmp_path / "signed.zip"
    make_key(key)
    keys.write_text(json.dumps({"keys": {KEY.key_id: KEY.public_jwk()}}))
    sign = ["sign", "--key", str(key), "--to", str(signed)]
    somebody_else_s = package(tmp_path, OTHER)
    said = CliRunner().invoke(app, [*sign, str(somebody_else_s), "--built-by", str(keys)])
    assert said.exit_code == 1
    assert OTHER.key_id in said.output
    ours = package(tmp_path)
    said = CliRunner().invoke(app, [*sign, str(ours)])
    assert said.exit_code == 2, "who has built it has to be said"
    for text in ("", "{}", json.dumps({"keys": {}}), None):
        other = tmp_path / "other.json"
        other.unlink(missing_ok=True) if text is None else other.write_text(text)
        said = CliRunner().invoke(app, [*sign, str(ours), "--built-by", str(other)])
        assert said.exit_code == 1
        assert "other.json" in said.output
    assert not signed.exists()
    said = CliRunner().invoke(app, [*sign, str(ours), "--built-by", str(keys)])
    assert said.exit_code == 0
    assert look_into(signed)[0] == read_key(key).key_id


def test_formats_and_version_are_those_of_the_wheel_and_not_of_what_runs_here(tmp_path: Path) -> None:
    own = wheel(
        tmp_path,
        "lineside-7.8.9-py3-none-any.whl",
        {
            "edge_agent/__init__.py": "",
            "edge_agent/buffer/__init__.py": "",
            "edge_agent/buffer/schema.py": "SCHEMA_VERSION = 4242\n",
            "edge_agent/commands/__init__.py": "",
            "edge_agent/commands/journal_file.py": "SCHEMA_VERSION = 17\n",
        },
    )
    schemas = schemas_of(own)
    assert schemas == Schemas(outbox=4242, journal=17)
    manifest, files = describe([own, wheel(tmp_path, "idna-3.10-py3-none-any.whl", {"idna.py": "x" * 1000})], schemas)
    assert (manifest.version, len(manifest.files)) == ("7.8.9", 2)
    assert manifest.installed_bytes > 1000
    key = make_key(tmp_path / "key.jwk")
    write_package(tmp_path / "made.zip", manifest, files, read_key(tmp_path / "key.jwk"))
    assert look_into(tmp_path / "made.zip") == (next(iter(key["keys"])), manifest)
    with pytest.raises(ReleaseNotMade):
        describe([], schemas)


def test_the_command_says_what_a_package_is_and_ends_with_a_sentence_where_it_is_none(tmp_path: Path) -> None:
    built = package(tmp_path)
    said = CliRunner().invoke(app, ["show", str(built)])
    assert said.exit_code == 0
    assert "Lineside 1.1.0 for Python 3.11" in said.stdout
    assert file_sha256(built) in said.stdout
    (tmp_path / "text").write_text("none")
    for path in ("text", "nothing"):
        said = CliRunner().invoke(app, ["show", str(tmp_path / path)])
        assert said.exit_code == 1
        assert "Traceback" not in said.output
