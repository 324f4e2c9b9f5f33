"""``edge-agent buffer export``: what waits in the outbox as a file, for other programs or for a person."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from connectors.configuration.saying import say
from edge_agent.cli.json_output import print_json
from edge_agent.cli.opened_outbox import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    EXIT_USAGE,
    ConfigOption,
    JsonOption,
    KeyFilesOption,
    PathOption,
    fail,
    outbox_contents,
    outbox_place,
    say_where_keys_come_from,
    sealing_of,
)

if TYPE_CHECKING:
    from edge_agent.cli.export_lines import ExportWriter
    from edge_agent.cli.export_records import Exporter

NEEDS_PYARROW: Final = "Parquet needs the package pyarrow: pip install 'lineside[parquet]', or write JSON Lines or CSV"
_FRACTION: Final = re.compile(r"[.,](\d{1,9})(?!\d)")


class Format(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_FORMAT_OF: Final = {".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".csv": Format.CSV, ".parquet": Format.PARQUET}
DevicesOption = Annotated[
    list[str] | None, typer.Option("--device", "-d", help="Only this device; * stands for any characters")
]
TagsOption = Annotated[list[str] | None, typer.Option("--tag", "-t", help="Only this tag; * stands for any characters")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="A file, written as a whole or not at all; else standard output", readable=False
    ),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", "-f", help="As the name of the file says; otherwise jsonl")
]
FromOption = Annotated[str, typer.Option("--from", help="Only source times from then on, in UTC: 2026-11-23T08:00")]
UntilOption = Annotated[str, typer.Option("--to", help="Only source times before then, in UTC")]
RefusedOption = Annotated[bool, typer.Option("--refused", help="The batches that were set aside, not those that wait")]
AgentOption = Annotated[str, typer.Option("--agent", help="GROUP/NAME, where no file says whose outbox it is")]


def export(
    config: ConfigOption = DEFAULT_CONFIG,
    outbox: PathOption = None,
    output: OutputOption = None,
    format_: FormatOption = None,
    device: DevicesOption = None,
    tag: TagsOption = None,
    from_: FromOption = "",
    until: UntilOption = "",
    refused: RefusedOption = False,
    agent: AgentOption = "",
    key_file: KeyFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every sample that waits, with device, tag, time (UTC), quality and batch, and every gap.

    JSON Lines have all of it in one file; CSV and Parquet have the gaps in a second one: NAME.gaps.csv. It works while
    the agent runs, too. Exit code 1 when a batch could not be read. With --json what was written is told as JSON; it
    needs --output, because the export itself stands on standard output otherwise.
    """
    from edge_agent.buffer.selection import Selection
    from edge_agent.cli.export_records import Exporter

    if as_json and output is None:
        fail("--json tells what was written to a file: name one with --output", EXIT_USAGE)
    selection = Selection(tuple(device or ()), tuple(tag or ()), parse_time(from_, "--from"), parse_time(until, "--to"))
    place = outbox_place(config, outbox)
    chosen = format_ or _FORMAT_OF.get("" if output is None else output.suffix.lower(), Format.JSONL)
    with outbox_contents(place, sealing_of(place, key_file)) as contents, _writer(chosen, output) as writer:
        exporter = Exporter(contents, writer, selection)
        if refused:
            exporter.refused(agent or place.agent)
        else:
            with progress(contents.count, shown=output is not None or not sys.stdout.isatty()) as advance:
                exporter.waiting(agent or place.agent, advance)
    if as_json:
        print_json({"file": str(output), "format": chosen.value, **exporter.counts, "problems": exporter.problems})
    else:
        _say(exporter, chosen, output)
    if exporter.problems:
        raise typer.Exit(EXIT_PROBLEM)


def parse_time(text: str, option: str) -> int | None:
    """Nanoseconds since 1970 from a date, or a date and a time, in UTC unless it names its offset; ends the command."""
    if not text:
        return None
    found = _FRACTION.search(text)
    try:
        when = datetime.fromisoformat(text if found is None else text[: found.start()] + text[found.end() :])
    except ValueError:
        fail(f"{option}: {text!r} is not a time; write it as 2026-11-23, 2026-11-23T08:00 or 2026-11-23T08:00:00.5Z",
             EXIT_USAGE)  # fmt: skip
    seconds = int((when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp())
    return seconds * 1_000_000_000 + (0 if found is None else int(found[1].ljust(9, "0")))


def _say(exporter: Exporter, chosen: Format, output: Path | None) -> None:
    """What a person should know besides."""
    from connectors.configuration.setting_names import counted

    counts = exporter.counts
    gaps = counts["gaps"] + counts["open_gaps"]
    if output is None and chosen is Format.CSV and gaps:
        say(f"{counted(gaps, 'gap is', 'gaps are')} left out: --output writes a second file for them", err=True)
    if output is not None:
        samples, batches = counted(counts["samples"], "sample"), counted(counts["batches"], "batch", "batches")
        say(f"{output}: {samples} in {batches}, and {counted(gaps, 'gap')}", err=True)
    for problem, count in exporter.problems.items():
        say(f"{counted(count, 'batch', 'batches')} could not be read: {problem}", err=True)
    if exporter.problems:
        say_where_keys_come_from(exporter.problems)


@contextlib.contextmanager
def _writer(chosen: Format, output: Path | None) -> Iterator[ExportWriter]:
    from edge_agent.cli.export_lines import CsvWriter, LinesWriter

    if output is None:
        if chosen is Format.PARQUET:
            fail("Parquet is written to a file: name one with --output", EXIT_USAGE)
        yield LinesWriter(_standard_output()) if chosen is Format.JSONL else CsvWriter(_standard_output(), None)
        sys.stdout.flush()
        return
    gaps = output.with_name(f"{output.stem}.gaps{output.suffix}")
    try:
        with contextlib.ExitStack() as files:
            if chosen is Format.PARQUET:
                yield _parquet_writer(files.enter_context(_file(output)), files.enter_context(_file(gaps)))
            elif chosen is Format.CSV:
                texts = [files.enter_context(_text(files.enter_context(_file(path)))) for path in (gaps, output)]
                yield CsvWriter(texts[1], texts[0])
            else:
                yield LinesWriter(files.enter_context(_text(files.enter_context(_file(output)))))
    except OSError as exc:
        fail(f"{output} cannot be written: {exc.strerror or exc}")


def _parquet_writer(samples: Path, gaps: Path) -> ExportWriter:
    try:
        from edge_agent.cli.export_parquet import ParquetWriter
    except ImportError:
        fail(NEEDS_PYARROW)
    return ParquetWriter(samples, gaps)


def _standard_output() -> TextIO:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8")
    return sys.stdout


@contextlib.contextmanager
def _file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to, which takes its place when all is written. Only its owner may read it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        yield part
        os.fsync(descriptor)
        part.replace(path)
    finally:
        os.close(descriptor)
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with path.open("w", encoding="utf-8", newline="", buffering=1 << 20) as file:
        yield file


@contextlib.contextmanager
def progress(count: Callable[[], int], *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """On a terminal, how far it is, by how often what this gives is called."""
    if not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("batches", total=count())
        yield lambda: bar.advance(task)
