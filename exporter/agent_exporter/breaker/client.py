"""The command `agent-exporter breaker`: sends orders to a running exporter, and prints the answers."""

from __future__ import annotations

import getpass
import os
import shlex
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.breaker.audit import GENESIS, ROW_KIND, expected, verify
from agent_exporter.breaker.control import Extend, Refused, Unlatch, ask
from agent_exporter.formatting import ago
from agent_exporter.state import Unavailable, peek
from agent_exporter.text import plain

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from agent_exporter.breaker.audit import Expected

__all__ = ["Refused", "order", "verified"]

MAX_FAULTS = 20
"""Faults that `verify` prints."""
MAX_CANDIDATES = 10
"""Files beside an audit log that may be its state."""


def order(socket: Path, options: argparse.Namespace) -> str:
    """Send an order and return the answer. Raises Refused."""
    if options.order == "status":
        answer = ask(socket, "GET", "/status")
        if options.json:
            return msgspec.json.format(answer, indent=2).decode()
        return status(msgspec.json.decode(answer), time.time())
    if options.order == "unlatch":
        return ask(socket, "POST", "/unlatch", Unlatch(_who(), options.agent)).decode()
    if not options.tokens and not options.cost_usd:
        raise Refused("extend by what? --tokens N, --cost-usd X, or both")
    grant = Extend(options.session, _who(), options.agent, options.tokens, options.cost_usd)
    return ask(socket, "POST", "/extend", grant).decode()


def status(answer: dict[str, Any], now: float) -> str:
    """The answer to `breaker status` as text."""
    if answer["latched_since"]:
        since = datetime.fromtimestamp(answer["latched_since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        head = (
            f"LATCHED since {since}: {answer['latched_why']}. It only observes.\n"
            "Look at what happened first; then: agent-exporter breaker unlatch --config FILE"
        )
    elif answer["enforcing"]:
        head = "enforcing: sessions over their ceilings are stopped"
    else:
        head = "observing: nothing is stopped (breaker.mode: observe)"
    for one in answer["latched_agents"]:
        since = datetime.fromtimestamp(one["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        name = plain(one["agent_id"])
        head += (
            f"\nLATCHED for {name} since {since}: {one['why']}. It only observes this agent.\n"
            "Look at what happened first; then: "
            f"agent-exporter breaker unlatch --agent {shlex.quote(name)} --config FILE"
        )
    audit = f"audit log: {answer['audit_log'] or 'none'}"
    if answer["audit_log"]:
        audit += f"\nlast hash: {answer['audit_head']}"
    if answer["audit_problem"]:
        audit += f"\nTHE AUDIT LOG CANNOT BE WRITTEN: {answer['audit_problem']}"
    rows = [  # ids come from log lines and may hold escape sequences
        (
            one["status"],
            ago(one["changed"], now),
            plain(one["agent_id"]),
            plain(one["session_id"]),
            one["reason"] + (f" #{one['generation']}" if one["generation"] > 1 else ""),
            plain(one["why"]),
        )
        for one in answer["intents"]
    ]
    if not rows:
        return f"{head}\n{audit}\nno session was to be stopped yet"
    names = ("STATUS", "", "AGENT", "SESSION", "REASON", "WHY")
    widths = [max(len(row[column]) for row in (names, *rows)) for column in range(len(names) - 1)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in (names, *rows)
    ]
    if answer["more"]:
        lines.append(f"... and {answer['more']:,} more")
    return "\n".join([head, audit, "", *lines])


def verified(path: Path, state: Path | None) -> tuple[list[str], bool]:
    """(sentences, whether the log is sound). Compared with `state`, or else with a state file beside the log.

    Raises OSError, or state.Unavailable for a `state` that cannot be read.
    """
    known, compared = _known(path, state)
    verdict = verify(path, known)
    sentences = [f"{path}: {fault}" for fault in verdict.faults[:MAX_FAULTS]]
    if len(verdict.faults) > MAX_FAULTS:
        sentences.append(f"{path}: and {len(verdict.faults) - MAX_FAULTS:,} more like these")
    if verdict.start != GENESIS:
        sentences.append(f"{path}: continues an older file, which ends with hash {verdict.start}")
    word = "broken" if verdict.faults else "sound" if known is not None else "unbroken as far as it goes"
    lines = "one line" if verdict.lines == 1 else f"{verdict.lines:,} lines"
    sentences.append(f"{path}: {lines}, the chain is {word}; last hash {verdict.head}")
    sentences.append(f"{path}: {compared}")
    return sentences, not verdict.faults


def _known(path: Path, state: Path | None) -> tuple[Expected | None, str]:
    """What a state file says of the log, and a sentence about which one."""
    for candidate in [state] if state is not None else sorted(path.absolute().parent.glob("*.db"))[:MAX_CANDIDATES]:
        try:
            known = expected(peek(candidate, ROW_KIND))
        except (Unavailable, msgspec.MsgspecError):
            if state is not None:
                raise
            continue
        if known is not None:
            return known, f"compared with the state file {candidate}"
    return None, "lines may have been cut from its end: no state file is beside it; name one with --state.path"


def _who() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return str(os.getuid())
