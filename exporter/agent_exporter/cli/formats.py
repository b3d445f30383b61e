"""`agent-exporter formats`: the log formats of other programs, and what one makes of a file."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import EPILOGUE, command, format_option
from agent_exporter.cli.console import encodable, say
from agent_exporter.cli.errors import unread
from agent_exporter.text import plain, visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from agent_exporter.cli.arguments import Commands
    from agent_exporter.formats import Choice

WIDTH = 100
"""Characters of a line that are shown."""


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "formats", "log formats of other programs",
        "Formats of agents and loggers that need no change. Each is a YAML file; docs/formats.md has the language.",
    )  # fmt: skip
    kinds = parser.add_subparsers(title="commands", dest="what", required=True, metavar="COMMAND")
    kinds.add_parser("list", help="name the formats", description="Print each format with a sentence.")
    show = kinds.add_parser(
        "show", help="print a format",
        description="Print the YAML file of a format, to begin one of your own with.",
    )  # fmt: skip
    show.add_argument("name", metavar="NAME")
    trial = kinds.add_parser(
        "try", help="show what a format makes of a file", epilog=EPILOGUE,
        description="Print each line of a file (plain, docker, CRI, .gz, .zst; - for standard input) with what became "
        "of it: the records, or that it was skipped and why; a summary goes to standard error. Exit code 1 if a "
        "record is rejected, or if no line became one.",
    )  # fmt: skip
    format_option(trial)
    trial.add_argument("path", metavar="FILE")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.what == "list":
        return _list()
    return _show(options) if options.what == "show" else _try(options)


def _list() -> int:
    from agent_exporter.formats.mapping import files  # noqa: PLC0415

    names, presets = files.names(), files.presets()
    width = max(map(len, names + presets))
    for name in names:
        mapping = files.load(name)
        print(f"{name:{width}}  {mapping.description}{'' if mapping.detect else ' (only if named)'}")
    for name in presets:
        print(f"{name:{width}}  to be extended: {files.description(name)}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from agent_exporter.formats.mapping import files  # noqa: PLC0415

    print(files.source(options.name), end="")
    return 0


def _try(options: argparse.Namespace) -> int:
    from agent_exporter.formats import Choice  # noqa: PLC0415

    choice = Choice.named(options.format)
    counts: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    try:
        for line in _outcomes(choice, options.path, counts, skipped):
            print(encodable(line))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unread(error) from error
    sys.stdout.flush()
    say(", ".join(f"{counts[kind]:,} {kind}" for kind in ("lines", "records", "rejected", "skipped", "without a line")))
    for name, count in skipped.most_common():
        say(f"skipped {count:,} of type {name}")
    return int(not counts["records"] or counts["rejected"] > 0)


def _outcomes(choice: Choice, path: str, counts: Counter[str], skipped: Counter[str]) -> Iterator[str]:
    from agent_exporter.action import Action  # noqa: PLC0415
    from agent_exporter.records import Foreign, read  # noqa: PLC0415
    from agent_exporter.sources.once import raw_lines  # noqa: PLC0415

    format_ = choice.new(path)
    for number, line in raw_lines(path, format_):
        counts["lines"] += 1
        where = f"{plain(path)}:{number}: "
        if line is None:
            counts["rejected"] += 1
            yield f"{where}longer than {format_.max_line:,} bytes"
            continue
        batch = format_.feed([line])
        yield where + _short(line.decode(errors="replace"))
        for record in batch.lines:
            result = read(record)
            if isinstance(result, Action):
                counts["records"] += 1
                yield f"    = {visible(record.decode(errors='replace'))}"
            elif isinstance(result, Foreign):
                counts["skipped"] += 1
                yield "    ignored: no format knows it"
            else:
                counts["rejected"] += 1
                yield f"    ! {visible(result.detail)}"
                yield f"      {_short(record.decode(errors='replace'))}"
        for name in batch.skipped:
            counts["skipped"] += 1
            skipped[name.partition("/")[2]] += 1
            yield f"    skipped: no rule is for the type {name.partition('/')[2]}"
        if batch.silent:
            counts["without a line"] += 1
            yield "    no line: it only begins a call, repeats what was counted, or is remembered"


def _short(text: str) -> str:
    shown = visible(text[: WIDTH + 1])
    return shown if len(text) <= WIDTH else f"{shown[:WIDTH]}... ({len(text):,} characters)"
