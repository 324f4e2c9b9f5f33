"""``lineside release``: make, sign and look at releases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from connectors.model.errors import LinesideError

app = typer.Typer(help="Releases of the agent: a key, build, sign, show.", no_args_is_help=True)
KeyOption = Annotated[Path, typer.Option("--key", help="The file of the release key")]
ToOption = Annotated[Path, typer.Option("--to", help="The file to write")]


@app.command()
def key(to: ToOption) -> None:
    """Make a release key, and print its public half, which boxes have as their file of release keys."""
    from lineside.releases import make_key

    try:
        public = make_key(to)
    except OSError as exc:
        _fail(f"{to}: {exc.strerror or exc}")
    typer.echo(json.dumps(public, indent=2))


@app.command()
def build(
    key: KeyOption,
    to: ToOption,
    source: Annotated[Path, typer.Option(help="The source tree")] = Path(),
    wheels: Annotated[Path | None, typer.Option(help="A folder with all other wheels: no registry is asked")] = None,
) -> None:
    """Build a release for boxes with the Python and platform of this machine."""
    from lineside import releases

    try:
        sha256, manifest = releases.build(source, to, releases.read_key(key), wheels=wheels)
    except (LinesideError, OSError) as exc:
        _fail(str(exc))
    typer.echo(f"{to}: Lineside {manifest.version}, {len(manifest.files)} wheels, SHA-256 {sha256}")


@app.command()
def sign(
    package: Annotated[Path, typer.Argument(help="A package that another key has signed")],
    key: KeyOption,
    built_by: Annotated[
        Path, typer.Option("--built-by", help="Public keys of who builds, as 'release key' has printed them")
    ],
    to: ToOption,
) -> None:
    """Sign a release with the key that boxes trust: one that a key of who builds has signed, and no other."""
    from lineside import releases

    try:
        sha256 = releases.sign_anew(package, to, releases.read_key(key), built_by=releases.read_built_by(built_by))
    except (LinesideError, OSError) as exc:
        _fail(str(exc))
    typer.echo(f"{to}: SHA-256 {sha256}")


@app.command()
def show(package: Annotated[Path, typer.Argument(help="A package")]) -> None:
    """Say what a package says of itself, and whose signature it names; nothing is verified."""
    from connectors.releases.package import file_sha256, look_into

    try:
        key_id, manifest = look_into(package)
        sha256 = file_sha256(package)
    except (LinesideError, OSError) as exc:
        _fail(f"{package}: {exc}")
    built = datetime.fromtimestamp(manifest.built_ms / 1000, UTC).isoformat(timespec="seconds")
    typer.echo(f"Lineside {manifest.version} for Python {manifest.python} on {manifest.platform}, built {built}")
    typer.echo(f"SHA-256 {sha256}, signed with {key_id}; {manifest.schemas}")
    for name, file in sorted(manifest.files.items()):
        typer.echo(f"  {name}  {file.size_bytes:,} bytes")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
