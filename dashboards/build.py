"""`python -m dashboards.build` writes json/; with `--check` it only compares, and exits 1 where a file is not fresh."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dashboards import agent, budget, exporter, overview, team, trace

JSON = Path(__file__).parent / "json"
BOARDS = (overview.build, team.build, agent.build, trace.build, budget.build, exporter.build)


def written() -> dict[Path, str]:
    """Every file, and what is to stand in it."""
    boards = [build() for build in BOARDS]
    return {JSON / f"{board['uid']}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n" for board in boards}


def stale() -> list[str]:
    """What is not as it would be written, or would not be written at all."""
    files = written()
    there = {path: path.read_text(encoding="utf-8") for path in JSON.glob("*.json")}
    return sorted(path.name for path in files.keys() | there.keys() if files.get(path) != there.get(path))


def main(arguments: list[str]) -> int:
    """Exit code 1 if something is not fresh."""
    if arguments == ["--check"]:
        for name in stale():
            print(f"dashboards/json/{name} is not what its source says: run make boards", file=sys.stderr)
        return 1 if stale() else 0
    JSON.mkdir(exist_ok=True)
    for path in JSON.glob("*.json"):
        path.unlink()
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
