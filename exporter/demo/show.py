"""The demo's two processes: the fleet, whose standard output is a file, and the exporter that follows it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from exporter.config import load
from exporter.demo import history
from exporter.demo.endpoints import Endpoints
from exporter.demo.faults import FAULTS
from exporter.demo.fleet import TEAMS, Fleet
from exporter.service import Exporter

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = Path(__file__).parent / "config.yaml"

WATCH = {
    "loop": 'support-01 repeats one search: "looping", with the calls as evidence',
    "budget": "reporter-01 runs past its session's 50,000 tokens, then past its $40 of the day",
    "silent": "watcher-01 falls silent: flagged after twice its cycle of 10 s",
    "cascade": "a bad plan of planner-01 fails three agents after it; the trace shows the way",
    "drift": "writer-01 is less sure than in its first week, three weeks ago, and gets simple sums wrong",
}
"""What to look for, by fault."""


def fleet_only(faults: Sequence[str], speed: float, duration: float | None) -> int:
    """The agents alone: their lines to standard output, until told to end."""

    async def work() -> None:
        fleet = Fleet(speed).run(*(FAULTS[name] for name in faults))
        try:
            await asyncio.wait_for(fleet, duration)
        except TimeoutError:
            return

    asyncio.run(work())
    return 0


def show(faults: Sequence[str], speed: float, duration: float | None, listen: str) -> int:
    """The fleet and an exporter, until told to end or for so many seconds; leaves nothing behind."""
    degraded = {"writer-01"} if "drift" in faults else set()
    with tempfile.TemporaryDirectory(prefix="agent-exporter-demo-") as folder, Endpoints(degraded) as endpoints:
        log = Path(folder, "agents.log")
        log.touch()
        if "drift" in faults:
            _say("writing three weeks of history ...")
            history.write(log, time.time() - 60)
        config = load(CONFIG)
        config = msgspec.structs.replace(
            config,
            agents={
                name: msgspec.structs.replace(agent, endpoint=endpoints.of(name))
                for name, agent in config.agents.items()
            },
            server=msgspec.structs.replace(config.server, listen=listen),
            state=msgspec.structs.replace(config.state, path=str(Path(folder, "state.db"))),
        )
        exporter = Exporter(config, None, [str(log)], started=lambda address: _introduce(address, faults))
        arguments = [argument for name in faults for argument in ("--fault", name)]
        with log.open("ab") as lines:
            fleet = subprocess.Popen(  # noqa: S603  (ourselves)
                [sys.executable, "-m", "exporter", "demo", "--stdout", "--speed", str(speed), *arguments],
                stdout=lines,
                stdin=subprocess.DEVNULL,
            )
        timer = threading.Timer(duration, exporter.stop) if duration is not None else None
        try:
            if timer is not None:
                timer.start()
            return exporter.run()
        finally:
            if timer is not None:
                timer.cancel()
            fleet.terminate()
            fleet.wait()


def _introduce(address: str, faults: Sequence[str]) -> None:
    agents = sum(len(names) for names in TEAMS.values())
    _say(f"{agents} agents of {len(TEAMS)} teams are at work: {address} shows them; Ctrl-C ends it")
    if not faults:
        _say("all is well with them; --fault loop, budget, silent, cascade or drift is not")
    for name in faults:
        _say(f"  {name}: {WATCH[name]}")
    _say(f"found: {address}findings   for Prometheus: {address}metrics")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201  (a command's words)
