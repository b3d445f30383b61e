"""`agent-exporter replay`: read logs to the end, print their metrics."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option, endpoint_option, format_option, seconds
from agent_exporter.cli.console import Progress
from agent_exporter.cli.errors import unread
from agent_exporter.cli.notes import say_rejected, say_unpriced
from agent_exporter.cli.settings import config_of

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "replay", "read logs to the end and print their metrics",
        "Read past logs (plain, docker, CRI, .gz, .zst; - for standard input) to their end and print the exposition. "
        '"Now" is the time of the newest line.',
    )  # fmt: skip
    config_option(parser)
    format_option(parser)
    parser.add_argument("--openmetrics", action="store_true", help="OpenMetrics, with _created and exemplars")
    parser.add_argument(
        "--step", type=seconds, metavar="15s",
        help="print the exposition at every step of the log's own time, with timestamps, "
        "for `promtool tsdb create-blocks-from openmetrics`",
    )  # fmt: skip
    endpoint_option(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.replay import replay, replay_in_steps  # noqa: PLC0415
    from agent_exporter.stages import render  # noqa: PLC0415

    config = config_of(options)
    progress = Progress()
    try:
        if options.step is not None:
            for page in replay_in_steps(config, options.paths, options.step):
                sys.stdout.buffer.write(page)
            return 0
        stages = replay(config, options.paths, progress.show)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unread(error) from error
    progress.clear()
    pipeline = stages.pipeline
    accept = "application/openmetrics-text; version=1.0.0" if options.openmetrics else "text/plain"
    render(sys.stdout.buffer, pipeline.store.committed, stages.live(pipeline.newest), accept)
    sys.stdout.buffer.flush()
    say_rejected(stages)
    say_unpriced(stages)
    return 1 if any(getattr(source, "problems", None) for source in pipeline.sources) else 0
