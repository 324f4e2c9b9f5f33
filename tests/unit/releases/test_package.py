"""What may be in the file of a release, and that nothing else ever reaches the disk."""

from __future__ import annotations

import stat
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.commands.signing import TrustedKeys
from connectors.releases import package as package_module
from connectors.releases.manifest import ReleaseInvalid, read_manifest
from connectors.releases.package import file_sha256, look_into, unpack, verified
from tests.unit.releases.packages import BESIDE, CONTENTS, KEY, KEYS, OTHER, OWN, archive, manifest_of, package


def refused(path: Path, folder: Path, says: str, keys: TrustedKeys = KEYS, sha256: str = "") -> None:
    folder.mkdir()
    with pytest.raises(ReleaseInvalid, match=says):
        unpack(path, keys, folder, sha256=sha256)
    assert not [path for path in folder.parent.parent.rglob("*evil*") if path.is_file()]


def test_a_package_is_unpacked_as_it_was_made_and_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    path = package(tmp_path)
    sha256 = file_sha256(path)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    manifest = unpack(path, KEYS, folder, sha256=sha256)
    assert manifest == manifest_of()
    assert {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*.whl")} == CONTENTS
    assert look_into(path) == (KEY.key_id, manifest)
    assert file_sha256(package(tmp_path)) == sha256


def test_only_who_has_a_release_key_can_make_one(tmp_path: Path) -> None:
    refused(package(tmp_path, OTHER), tmp_path / "a", "signed with the key")
    refused(package(tmp_path), tmp_path / "b", "signed with the key", keys=TrustedKeys())
    sealed = KEY.sign("lineside-command", manifest_of().model_dump_json().encode())
    refused(archive(tmp_path / "c.zip", CONTENTS, sealed), tmp_path / "c", "lineside-command")


def test_the_whole_file_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    refused(package(tmp_path), tmp_path / "a", "SHA-256", sha256="0" * 64)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({OWN: CONTENTS[OWN]}, "no file wheels/idna"),
        ({**CONTENTS, OWN: b"lineside itselF"}, "was changed"),
        ({**CONTENTS, OWN: b"longer than it was"}, "bytes"),
        ({**CONTENTS, "evil.pth": b"import os"}, "does not name"),
        ({**CONTENTS, "../evil.whl": b"x"}, "does not name"),
        ({**CONTENTS, "/tmp/evil.whl": b"x"}, "does not name"),
        ({**CONTENTS, "wheels/../../evil.whl": b"x"}, "does not name"),
    ],
)
def test_a_file_that_is_not_as_the_manifest_says_is_refused(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    refused(archive(tmp_path / "release.zip", files), tmp_path / "to", says)


@pytest.mark.parametrize("name", ["../evil.whl", "wheels/../evil.whl", "/evil.whl", "wheels/evil.py", "wheels/.a.whl"])
def test_no_signature_makes_a_path_good_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    document = manifest_of().model_dump_json().replace(BESIDE, name)
    sealed = KEY.sign("lineside-release", document.encode())
    refused(
        archive(tmp_path / "r.zip", {OWN: b"lineside itself", name: CONTENTS[BESIDE]}, sealed), tmp_path / "to", "mani"
    )


def test_links_compressed_files_and_doubles_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo(BESIDE)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = archive(tmp_path / "link.zip", {OWN: CONTENTS[OWN]})
    with zipfile.ZipFile(path, "a") as target:
        target.writestr(link, CONTENTS[BESIDE])
    refused(path, tmp_path / "a", "not a plain file")
    path = archive(tmp_path / "bomb.zip", {OWN: CONTENTS[OWN]})
    with zipfile.ZipFile(path, "a") as target:
        target.writestr(BESIDE, CONTENTS[BESIDE], zipfile.ZIP_DEFLATED)
    refused(path, tmp_path / "b", "not a plain file")
    path = archive(tmp_path / "double.zip", CONTENTS)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as target:
        warnings.simplefilter("ignore")
        target.writestr(OWN, CONTENTS[OWN])
    refused(path, tmp_path / "c", "two files")


def test_a_package_that_is_too_large_or_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = package(tmp_path)
    (tmp_path / "text").write_text("no archive")
    refused(tmp_path / "text", tmp_path / "a", "no package")
    refused(archive(tmp_path / "r.zip", CONTENTS, "x" * (256 * 1024 + 1)), tmp_path / "b", "no manifest")
    monkeypatch.setattr(package_module, "PACKAGE_BYTES_MAX", path.stat().st_size - 1)
    refused(path, tmp_path / "c", "more than")


@settings(max_examples=5 * settings.default.max_examples, deadline=None)
@given(data=st.data())
def test_a_package_that_was_cut_or_changed_anywhere_is_never_taken_by_its_hash_nor_a_file_of_it_changed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("package")
    path = package(folder)
    whole = path.read_bytes()
    sha256 = file_sha256(path)
    if data.draw(st.booleans()):
        broken = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    path.write_bytes(broken)
    with pytest.raises(ReleaseInvalid):
        verified(path, KEYS, sha256=sha256)
    target = folder / "to"
    target.mkdir()
    try:  # by the signature alone, a change where nothing stands (a time, say) may be taken: the files are as signed
        unpack(path, KEYS, target)
    except (ReleaseInvalid, OSError):
        return
    assert {f.relative_to(target).as_posix(): f.read_bytes() for f in target.rglob("*.whl")} == CONTENTS


@pytest.mark.parametrize(
    "changes",
    [{"version": "1.2.0"}, {"version": "../1"}, {"format": 2}, {"files": {}}, {"more": 1}, {"installed_bytes": 0}],
)
def test_a_manifest_that_is_none_is_refused(changes: dict[str, object]) -> None:
    import json

    document = {**json.loads(manifest_of().model_dump_json()), **changes}
    with pytest.raises(ReleaseInvalid):
        read_manifest(json.dumps(document).encode())


def end_changed(path: Path, at: int, value: bytes) -> None:
    """Change the end of the directory, of 22 bytes, at the byte ``at``."""
    content = path.read_bytes()
    begin = len(content) - 22 + at
    path.write_bytes(content[:begin] + value + content[begin + len(value) :])


def test_a_directory_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "many.zip", {f"wheels/{number:05}.whl": b"" for number in range(5000)})
    assert path.stat().st_size < 1_000_000
    lying = package(tmp_path)
    end_changed(lying, 12, (400_000_000).to_bytes(4, "little"))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_args: pytest.fail("it is read"))
    for large in (path, lying):
        with pytest.raises(ReleaseInvalid, match=r"its directory has more than 262,144 bytes"):
            look_into(large)
        with pytest.raises(ReleaseInvalid, match=r"its directory has more than 262,144 bytes"):
            verified(large, KEYS)


def test_an_end_of_the_directory_that_could_stand_elsewhere_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path)
    with zipfile.ZipFile(path, "a") as target:
        target.comment = b"a comment"
    refused(path, tmp_path / "a", "does not end as one")
    path = package(tmp_path)
    content = path.read_bytes()
    locator = b"PK\6\7" + bytes(4) + (len(content) - 22).to_bytes(8, "little") + bytes([1, 0, 0, 0])
    path.write_bytes(content[:-22] + locator + content[-22:])
    refused(path, tmp_path / "b", "does not end as one")


def test_a_manifest_of_which_the_archive_has_more_than_it_says_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path)
    content = path.read_bytes()
    begin = content.rindex(b"PK\1\2", 0, content.rindex(b"manifest.jws"))
    path.write_bytes(content[: begin + 20] + (400_000_000).to_bytes(4, "little") + content[begin + 24 :])
    refused(path, tmp_path / "a", "no manifest")
