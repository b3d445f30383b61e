"""`agent-exporter check-config`: every fault of a config file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command
from agent_exporter.config import load
from agent_exporter.config.strict import ConfigError

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "check-config", "check a config file",
        "Print every fault of a config file with its path, all at once. Exit code 2 if there are any.",
    )  # fmt: skip
    parser.add_argument("file", metavar="FILE")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.benchmark.suite import faults_in  # noqa: PLC0415
    from agent_exporter.formats.mapping import files  # noqa: PLC0415

    config = load(Path(options.file))
    files.check(config.formats())
    suites = [Path(benchmark.suite) for benchmark in config.benchmarks.values()]
    if faults := [fault for suite in suites if suite.exists() for fault in faults_in(suite)]:
        raise ConfigError(faults)
    for key, name in config.missing_files():
        print(f"{options.file}: {key}: {name} is not there, at least not on this machine")
    print(f"{options.file}: fine")
    return 0
