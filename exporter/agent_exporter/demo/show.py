"""The demo's two processes: the fleet, whose standard output is a file, and the exporter that follows it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent_exporter.config import Breaker, Config, Terminate, load
from agent_exporter.demo import history
from agent_exporter.demo.faults import FAULTS
from agent_exporter.demo.fleet import TEAMS, Fleet
from agent_exporter.demo.mailbox import listen
from agent_exporter.service import Exporter

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


def fleet_only(faults: Sequence[str], speed: float, duration: float | None, mailbox: int | str | None = None) -> int:
    """The agents alone: their lines to standard output, until told to end.

    `mailbox` is where they answer: HOST:PORT, or the number of a socket that listens.
    """

    async def work() -> None:
        fleet = Fleet(speed)
        if mailbox is not None:
            listen(fleet, mailbox)
        try:
            await asyncio.wait_for(fleet.run(*(FAULTS[name] for name in faults)), duration)
        except TimeoutError:
            return

    asyncio.run(work())
    return 0


def show(faults: Sequence[str], speed: float, duration: float | None, address: str, *, enforce: bool = False) -> int:
    """The fleet and an exporter, until told to end or for so many seconds; leaves nothing behind.

    With `enforce` the exporter stops sessions that run away, over HTTP as anywhere.
    """
    with tempfile.TemporaryDirectory(prefix="agent-exporter-demo-") as folder:
        log = Path(folder, "agents.log")
        log.touch()
        if "drift" in faults:
            _say("writing three weeks of history ...")
            history.write(log, time.time() - 60)
        config = load(CONFIG)
        config = msgspec.structs.replace(
            config,
            server=msgspec.structs.replace(config.server, listen=address),
            state=msgspec.structs.replace(config.state, path=str(Path(folder, "state.db"))),
        )
        arguments = [argument for name in faults for argument in ("--fault", name)]
        with log.open("ab") as lines, socket.create_server(("127.0.0.1", 0)) as mailbox:
            config = _asking(config, mailbox.getsockname()[1])
            if enforce:
                config = _enforcing(config, log, mailbox.getsockname()[1])
            arguments += ["--mailbox", str(mailbox.fileno())]
            fleet = subprocess.Popen(  # noqa: S603  (ourselves)
                [sys.executable, "-m", "agent_exporter", "demo", "--stdout", "--speed", str(speed), *arguments],
                stdout=lines,
                stdin=subprocess.DEVNULL,
                pass_fds=[mailbox.fileno()],
            )
        exporter = Exporter(config, None, [str(log)], started=lambda address: _introduce(address, faults, config))
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


def _asking(config: Config, port: int) -> Config:
    """The same, with every agent's health checked at the fleet's mailbox."""
    replace = msgspec.structs.replace
    agents = {name: replace(agent, endpoint=f"http://127.0.0.1:{port}/{name}") for name, agent in config.agents.items()}
    return replace(config, agents=agents)


def _enforcing(config: Config, log: Path, port: int) -> Config:
    """The same, with every agent's sessions to be stopped at the fleet's mailbox."""
    terminate = Terminate(url=f"http://127.0.0.1:{port}/v1/sessions/{{session_id}}/terminate")
    replace = msgspec.structs.replace
    agents = {
        name: replace(agent, trusted_sources=[str(log)], terminate=terminate) for name, agent in config.agents.items()
    }
    return replace(config, agents=agents, breaker=Breaker(mode="enforce", reasons=["session_budget", "loop"]))


def _introduce(address: str, faults: Sequence[str], config: Config) -> None:
    agents = sum(len(names) for names in TEAMS.values())
    _say(f"{agents} agents of {len(TEAMS)} teams are at work: {address} shows them; Ctrl-C ends it")
    if not faults:
        _say("all is well with them; --fault loop, budget, silent, cascade or drift is not")
    for name in faults:
        _say(f"  {name}: {WATCH[name]}")
    if config.breaker.mode == "enforce":
        _say("sessions that loop or pass their budget are stopped, and /findings says so")
        _say(f"  agent-exporter breaker status --state.path {config.state.path}")
        _say(f"  agent-exporter breaker verify {config.audit_log()}")
    _say(f"found: {address}findings   for Prometheus: {address}metrics")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201  (a command's words)
