"""The checked-in protobuf stubs are what the compiler makes of the .proto files now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MESSAGES = ("connectors/sparkplug/sparkplug_b.proto", "cloud_ingest/historian/samples.proto")
SERVICES = tuple(f"connectors/lineside_api/v1/{name}.proto" for name in ("commands", "data", "lines"))
"""With services, which gRPC makes stubs of."""
OUT = ("--python_out", "--pyi_out")
_COMPILER_VERSION = re.compile(
    r"(# Protobuf Python Version: |\n    |GRPC_GENERATED_VERSION = ')\d+(\.\d+)*(?=,?\n|'\n)"
)


def without_compiler_version(text: str) -> str:
    """Another version of the compiler may write the same code: only its own number is left out."""
    return _COMPILER_VERSION.sub(r"\1", text)


def outputs(proto: str) -> tuple[str, ...]:
    return (*OUT, "--grpc_python_out") if proto in SERVICES else OUT


@pytest.mark.parametrize("proto", MESSAGES + SERVICES)
def test_the_stubs_are_what_the_compiler_makes_now(proto: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", *(f"{out}={tmp_path}" for out in outputs(proto)), proto],
        cwd=CHECKOUT,
        check=True,
        timeout=60,
    )
    for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")[: len(outputs(proto))]:
        stub = proto.replace(".proto", suffix)
        made, kept = (tmp_path / stub).read_text(), (CHECKOUT / stub).read_text()
        assert without_compiler_version(kept) == without_compiler_version(made), f"make {stub} again"


def test_every_proto_file_is_checked() -> None:
    found = {
        str(path.relative_to(CHECKOUT))
        for folder in ("connectors", "edge_agent", "cloud_ingest", "deploy")
        for path in (CHECKOUT / folder).rglob("*.proto")
    }
    assert found == set(MESSAGES + SERVICES)


def test_make_stubs_makes_all_of_them() -> None:
    """The commands of the Makefile name the same files."""
    lines = (CHECKOUT / "Makefile").read_text().splitlines()
    commands = [line.split() for line in lines if "grpc_tools.protoc" in line]
    made = [{word for word in command if word.endswith(".proto")} for command in commands]
    assert made == [set(MESSAGES), set(SERVICES)]
    for command, protos in zip(commands, (MESSAGES, SERVICES), strict=True):
        assert {"-I.", *(f"{out}=." for out in outputs(protos[0]))} <= set(command)
