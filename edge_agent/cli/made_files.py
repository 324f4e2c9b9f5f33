"""Device files that commands make for a person: written once, and what is to be done with them."""

from __future__ import annotations

from pathlib import Path

from edge_agent.cli.app import EXIT_PROBLEM, fail


def write_new(path: Path, text: str) -> None:
    """Write the file, and the folder that it is in; ends the command where it cannot be, or is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path} is there already: name another file, or remove it", EXIT_PROBLEM)
    except OSError as exc:
        fail(f"{path} cannot be written: {exc.strerror}", EXIT_PROBLEM)


def what_next(path: Path | str) -> str:
    """How a device file comes to be used, for the end of a sentence."""
    return f"name it under 'include' of the agent's file (include: [{path}]), then: edge-agent check"
