"""The checked-in protobuf stubs are what the compiler makes of the .proto files now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOS = ("connectors/sparkplug/sparkplug_b.proto", "cloud_ingest/historian/samples.proto")
_COMPILER_VERSION = re.compile(r"(# Protobuf Python Version: |\n    )\d+(\.\d+)*(?=,?\n)")


def without_compiler_version(text: str) -> str:
    """Another version of the compiler may write the same code: only its own number is left out."""
    return _COMPILER_VERSION.sub(r"\1", text)


@pytest.mark.parametrize("proto", PROTOS)
def test_the_stubs_are_what_the_compiler_makes_now(proto: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", proto],
        cwd=CHECKOUT,
        check=True,
        timeout=60,
    )
    for suffix in ("_pb2.py", "_pb2.pyi"):
        stub = proto.replace(".proto", suffix)
        made, kept = (tmp_path / stub).read_text(), (CHECKOUT / stub).read_text()
        assert without_compiler_version(kept) == without_compiler_version(made), f"make {stub} again"


def test_every_proto_file_is_checked() -> None:
    found = {
        str(path.relative_to(CHECKOUT))
        for folder in ("connectors", "edge_agent", "cloud_ingest", "deploy")
        for path in (CHECKOUT / folder).rglob("*.proto")
    }
    assert found == set(PROTOS)


def test_make_stubs_makes_all_of_them() -> None:
    """The command of the Makefile names the same files."""
    (command,) = [line for line in (CHECKOUT / "Makefile").read_text().splitlines() if "grpc_tools.protoc" in line]
    assert {word for word in command.split() if word.endswith(".proto")} == set(PROTOS)
    assert {"-I.", "--python_out=.", "--pyi_out=."} <= set(command.split())
