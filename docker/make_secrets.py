"""What the stack needs before its first start, made once: random secrets, and empty files for those that only you have.

Run by the service `secrets` of docker-compose.yml, in the exporter's image, each time: what is there stays as it is.
"""

from __future__ import annotations

import re
import secrets
import sys
from pathlib import Path

from agent_exporter.config import load

EMPTY = ("pagerduty_key", "slack_url", "watchdog_url")
"""Of Alertmanager: with an empty file it starts, and shows its alerts."""


def write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all: others may be reading."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)


def main(folder: Path, config: Path) -> None:
    folder.chmod(0o755)  # each service reads as a user of its own; from outside, only root reaches a volume
    token = folder / "token"
    if not token.exists():
        write(token, secrets.token_urlsafe(32), 0o400)  # the exporter's user; the collector may read anything
    write(folder / "exporter_token", token.read_text(), 0o444)  # the same, for Prometheus
    password = folder / "grafana_password"
    if not password.exists():
        write(password, secrets.token_urlsafe(18), 0o444)
    for name in EMPTY:
        if not (folder / name).exists():
            write(folder / name, "", 0o644)
    # For Loki's label `agent`: a pattern of the agents that the exporter's config names. Globs may fit any number, but
    # not those of digits in brackets; other characters would have to be escaped for three languages: they are `other`.
    agents = load(config).agents.items()
    names = [name for name, agent in agents if not agent.retired and re.fullmatch(r"[\w@/+-]([\w.@/+-]|\[\d+])*", name)]
    write(folder / "configured_agents", "|".join(re.sub(r"[.+]", r"[\g<0>]", name) for name in names) or "a^", 0o444)
    print("Grafana is at http://127.0.0.1:3000, user admin. Its password:")
    print("    docker compose exec grafana cat /run/stack-secrets/grafana_password")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
