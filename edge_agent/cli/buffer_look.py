"""``edge-agent buffer verify`` and ``show``: whether the outbox is whole, and one batch of it decoded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.buffer_export import progress
from edge_agent.cli.json_output import print_json
from edge_agent.cli.opened_outbox import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
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
    from edge_agent.buffer.contents import OutboxContents
    from edge_agent.buffer.rows import StoredBatch
    from edge_agent.buffer.verification import Verification

NOT_KNOWN_HERE = (
    "What has left was acknowledged, or is explained by a gap that has left too: only the cloud can say "
    "(cloud-ingest ledger)."
)


def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    outbox: PathOption = None,
    whole_file: Annotated[
        bool, typer.Option("--whole-file", help="Check every page of the file although the agent runs: its log grows")
    ] = False,
    key_file: KeyFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the file, every row and its content, and the numbers. Exit code 1, and a line for each problem.

    While the agent runs, the rows are read a few at a time, and the pages of the file as such are not checked.
    """
    from edge_agent.buffer.verification import Verification

    place = outbox_place(config, outbox)
    checks_file = whole_file or not place.agent_runs
    with outbox_contents(place, sealing_of(place, key_file)) as contents:
        verification = Verification(contents)
        if checks_file:
            verification.check_file()
        with progress(contents.count) as advance:
            verification.check_contents(advance)
    if as_json:
        print_json(_document(verification, checks_file=checks_file))
    else:
        _print_verification(verification, checks_file=checks_file)
    if verification.problems:
        raise typer.Exit(EXIT_PROBLEM)


def show(
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", help="The number of the batch, as 'edge-agent buffer list' says it")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    outbox: PathOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="At most so many samples")] = 50,
    key_file: KeyFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one batch decoded: its samples with tag, time (UTC), value and quality, or the record that it is."""
    place = outbox_place(config, outbox)
    with outbox_contents(place, sealing_of(place, key_file)) as contents:
        batch = contents.find(number)
        found = [] if batch is None else [(batch, "")]
        found += [(item.batch, item.reason) for item in contents.set_aside() if item.batch.number == number]
        documents = [_batch_document(contents, each, reason) for each, reason in found]
        last = contents.last
    if not documents:
        fail(f"no batch {number} waits in {place.path}, and none is set aside; the newest number is {last}")
    if as_json:
        print_json(documents)
    else:
        for document in documents:
            _print_batch(document, count)
    unreadable = [document["unreadable"] for document in documents if document["unreadable"]]
    if unreadable:
        say_where_keys_come_from(unreadable)
        raise typer.Exit(EXIT_PROBLEM)


def _document(verification: Verification, *, checks_file: bool) -> dict[str, Any]:
    from connectors.sparkplug.delivery import format_epoch

    return {
        "whole": not verification.problems,
        "problems": verification.problems,
        "file_checked": checks_file,
        "batches": verification.batches,
        "samples": verification.samples,
        "keys": dict(verification.keys),
        "epochs": [
            {
                "epoch": format_epoch(each.facts.epoch),
                "first_batch": each.facts.first,
                "last_batch": each.facts.last,
                "waiting": each.waiting,
                "set_aside": each.set_aside,
                "explained_here": len(each.explained),
                "left": each.left,
            }
            for each in verification.epochs.values()
        ],
    }


def _print_verification(verification: Verification, *, checks_file: bool) -> None:
    from connectors.configuration.setting_names import counted
    from connectors.sparkplug.delivery import format_epoch
    from edge_agent.cli.buffer import plain_table
    from edge_agent.cli.terminal import Sentence, console

    out = console()
    batches = counted(verification.batches, "batch", "batches")
    out.print(f"{batches} with {counted(verification.samples, 'sample')} read")
    for key_id, count in sorted(verification.keys.items()):
        out.print(f"  {count:,} {f'sealed with the key {key_id}' if key_id else 'stored plain'}")
    if not checks_file:
        text = "the agent runs: the pages of the file were not checked, only what is in them (--whole-file checks both)"
        out.print(Sentence("", text, "yellow"))
    table = plain_table(("start", "first", "last", "waiting", "set aside", "explained", "left"))
    for each in verification.epochs.values():
        numbers = (each.facts.first, each.facts.last, each.waiting, each.set_aside, len(each.explained), each.left)
        table.add_row(format_epoch(each.facts.epoch), *(f"{number:,}" for number in numbers))
    if verification.epochs:
        out.print(table)
        out.print(Sentence("", NOT_KNOWN_HERE, "dim"))
    for problem in verification.problems:
        out.print(Sentence("PROBLEM  ", problem, "red"))
    out.print(counted(len(verification.problems), "problem") if verification.problems else "no problem found")
    say_where_keys_come_from(verification.problems)


def _batch_document(contents: OutboxContents, batch: StoredBatch, refused: str) -> dict[str, Any]:
    from connectors.sparkplug.delivery import format_epoch

    document: dict[str, Any] = {
        "batch": batch.number,
        "epoch": format_epoch(batch.epoch),
        "kind": batch.kind.name.lower(),
        "device": batch.device,
        "lane": None if refused else batch.lane.name.lower(),
        "definition": batch.definition,
        "created_ms": batch.created_ms,
        "bytes": batch.size_bytes,
        "sample_count": batch.sample_count,
        "refused": refused,
        "unreadable": batch.unreadable,
    }
    if batch.unreadable:
        return document
    if batch.parts:
        return document | {"samples": _samples(contents, batch)}
    return document | {"record": _record(batch)}


def _samples(contents: OutboxContents, batch: StoredBatch) -> list[dict[str, Any]]:
    from connectors.model.quality import code_of, name_of
    from edge_agent.buffer.selection import Selection, named_samples
    from edge_agent.cli.export_lines import json_ready

    found = []
    for samples in named_samples(batch, contents.tags, Selection()):
        columns = (samples.tags, samples.times(), samples.part.time_ns.tolist(), samples.values(),
                   samples.part.qualities().tolist())  # fmt: skip
        found += [
            {"tag": tag, "time": time, "time_ns": time_ns, "type": samples.datatype.label, "value": json_ready(value),
             "quality": name_of(quality), "quality_code": code_of(quality)}
            for tag, time, time_ns, value, quality in zip(*columns, strict=True)
        ]  # fmt: skip
    return found


def _record(batch: StoredBatch) -> Any:
    from connectors.model.errors import PayloadInvalid
    from connectors.sparkplug.definition import read_definition
    from edge_agent.buffer.rows import Kind

    try:
        if batch.kind is Kind.DEFINITION:
            definition = read_definition(batch.record)
            return {
                "hash": definition.hash,
                "tags": [
                    {"tag": metric.name, "alias": metric.alias, "type": metric.datatype.label, "unit": metric.unit,
                     "description": metric.description}
                    for metric in definition.metrics
                ],
            }  # fmt: skip
        return json.loads(batch.record)
    except (PayloadInvalid, ValueError) as exc:
        return {"unreadable": str(exc)}


def _print_batch(document: dict[str, Any], count: int) -> None:
    from rich.text import Text

    from connectors.configuration.setting_names import counted
    from edge_agent.cli.buffer import plain_table
    from edge_agent.cli.terminal import Sentence, console
    from edge_agent.cli.words import clock_time, quality_text, size, value_text

    out = console()
    kind, device = document["kind"].replace("_", " "), document["device"] or "(agent)"
    committed = f"committed {clock_time(document['created_ms'] * 1_000_000)} UTC, {size(document['bytes'])}"
    out.print(Text.assemble((f"batch {document['batch']}", "bold"), f"  {kind} of {device}, {committed}"))
    lane = f", lane {document['lane']}" if document["lane"] else ""
    out.print(Text(f"start {document['epoch']}{lane}", "dim"))
    if document["refused"]:
        out.print(Sentence("", f"set aside: {document['refused']}", "yellow"))
    if document["unreadable"]:
        out.print(Sentence("", f"it cannot be read: {document['unreadable']}", "red"))
    samples = document.get("samples", [])
    if samples:
        table = plain_table(("tag", "time (UTC)", "value", "type", "quality"))
        for sample in samples[:count]:
            table.add_row(
                Text(sample["tag"] or "(unknown)"), clock_time(sample["time_ns"]), Text(value_text(sample["value"])),
                sample["type"], quality_text(sample["quality"], sample["quality_code"]),
            )  # fmt: skip
        out.print(table)
        if len(samples) > count:
            out.print(f"… {counted(len(samples) - count, 'more sample')}: --count shows more")
    elif "record" in document:
        out.print(Text(json.dumps(document["record"], ensure_ascii=False, indent=2)))
