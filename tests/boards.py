"""The boards as they are in dashboards/json, and every query that they ask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from running import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

BOARDS = [json.loads(path.read_text()) for path in sorted((ROOT / "dashboards/json").glob("*.json"))]


def panels_of(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its panels, rows among them, and those in rows that are closed."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def targets(**values: str) -> dict[str, dict[str, Any]]:
    """Every query of every panel, by what it is called; `text` is what is asked, with a value for every variable."""
    found = {}
    for board in BOARDS:
        many = {one["name"]: ".*" for one in board["templating"]["list"] if one.get("multi")}
        filled = {"session": "", "__rate_interval": "1m"} | values | many
        for panel in panels_of(board):
            for target in panel.get("targets", ()):
                text = target.get("expr") or target.get("query", "")
                for name, value in filled.items():
                    text = text.replace(f"${name}", value)
                found[f"{board['uid']}: {panel['title']}, {target['refId']}"] = target | {"text": text}
    return found
