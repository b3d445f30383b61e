"""`agent-exporter schema`: the JSON Schema of a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command
from agent_exporter.schema import schema

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "schema", "print the JSON Schema of a line",
        "Print the JSON Schema (2020-12) of one line, made from the types that decode it.",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return 0
