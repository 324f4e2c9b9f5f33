"""Wheels without a package index: those of this environment packed again, and one that does not start."""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.tags import parse_tag

PROJECT: Final = Path(__file__).parents[2]
_OF_THE_INSTALLATION: Final = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def pack_dependencies(extra: str, folder: Path) -> None:
    """Pack into ``folder`` what ``lineside[extra]`` needs, with the versions that are installed here."""
    folder.mkdir()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"][extra])]
    done: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in done:
            continue
        done.add(str(wanted))
        found = distribution(wanted.name)
        _pack(found, folder)
        needs = [Requirement(text) for text in found.requires or ()]
        extras = wanted.extras or {""}
        waiting += [need for need in needs
                    if need.marker is None or any(need.marker.evaluate({"extra": one}) for one in extras)]  # fmt: skip


def write_wheel(folder: Path, name: str, tag: str, files: Mapping[str, bytes]) -> Path:
    """A wheel called ``name`` (with its version) that holds ``files``."""
    path = folder / f"{name}-{tag}.whl"
    record = f"{name}.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
        wheel.writestr(record, "".join(f"{file},,\n" for file in (*files, record)))
    return path


def wheel_that_does_not_start(folder: Path) -> Path:
    """A newer Lineside whose agent finds every configuration right, and ends as soon as it is run."""
    program = (
        "import sys\n"
        "def main():\n"
        "    if sys.argv[1] == 'run': sys.exit('this version is broken')\n"
        "    if sys.argv[1] == 'status': print('nobody answers', file=sys.stderr); sys.exit(3)\n"
        "    print('9.9.9')\n"
    )
    about = {
        "METADATA": "Metadata-Version: 2.4\nName: lineside\nVersion: 9.9.9\nProvides-Extra: edge\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": "[console_scripts]\nedge-agent = broken_agent:main\n",
    }
    files = {f"lineside-9.9.9.dist-info/{name}": text.encode() for name, text in about.items()}
    return write_wheel(folder, "lineside-9.9.9", "py3-none-any", {**files, "broken_agent.py": program.encode()})


def _pack(found: Distribution, folder: Path) -> None:
    files: dict[str, bytes] = {}
    about = ""
    for file in found.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue  # commands are made from entry_points.txt
        if file.parent.suffix == ".dist-info":
            about = file.parent.stem
            if file.name in _OF_THE_INSTALLATION:
                continue
        files[str(file)] = Path(str(found.locate_file(file))).read_bytes()
    lines = files[f"{about}.dist-info/WHEEL"].decode().splitlines()
    write_wheel(folder, about, _tag(line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")), files)


def _tag(lines: Iterable[str]) -> str:
    """The tags of a wheel as its file name has them."""
    tags = [tag for line in lines for tag in parse_tag(line)]
    parts = ({tag.interpreter for tag in tags}, {tag.abi for tag in tags}, {tag.platform for tag in tags})
    return "-".join(".".join(sorted(part)) for part in parts)
