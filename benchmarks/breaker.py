"""How long a runaway goes on: `python benchmarks/breaker.py [--sessions N]`. Ends by itself after about a minute.

    stop    from the last byte of the line that crosses the ceiling to the terminate request, at 1,000 lines/s
    budget  from GET /v1/sessions/{id}/budget to its answer, under the same load

The exporter has one core, this program with its writer and the agent's mailbox the other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from generate import Log
from live import Writer
from process import EXPORTER, connected, cores, free_port, quantile, start, stop

RATE = 1_000
EVERY = 0.1
"""Seconds between two sessions that cross."""
CONFIG = """
agents: {{runaway: {{trusted_sources: ["{log}"], terminate: {{url: "http://127.0.0.1:{port}/{{session_id}}"}}}}}}
state: {{path: {state}}}
breaker: {{mode: enforce, max_terminations_per_minute: 100000, max_termination_share: 1}}
"""


def main() -> None:
    """Print both, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=300)
    sessions = parser.parse_args().sessions
    told: dict[str, float] = {}

    class Mailbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told[self.path[1:]] = time.monotonic()
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    mailbox = ThreadingHTTPServer(("127.0.0.1", 0), Mailbox)
    threading.Thread(target=mailbox.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="agent-exporter-bench-") as name:
        folder = Path(name)
        log, config, port = folder / "agents.log", folder / "config.yaml", free_port()
        log.touch()
        config.write_text(CONFIG.format(log=log, port=mailbox.server_port, state=folder / "state.db"))
        listen = f"127.0.0.1:{port}"
        process = start([*EXPORTER, "run", "--config", config, "--web.listen-address", listen, log], core=cores()[0])
        try:
            connected(port)
            lines = list(Log(RATE * int(sessions * EVERY + 5), agents=5, actions=4, rate=RATE))
            writer = Writer(log, lines, RATE)
            writer.start()
            time.sleep(2)
            crossed: dict[str, float] = {}
            asked = []
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for number in range(sessions):
                session = f"s{number}"
                stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                line = {
                    "timestamp": stamp, "agent_id": "runaway", "session_id": session, "action": "llm_call",
                    "status": "success", "tokens": {"prompt": 60_000, "completion": 0},
                }  # fmt: skip
                with log.open("ab") as file:
                    file.write(json.dumps(line).encode() + b"\n")
                crossed[session] = began = time.monotonic()
                connection.request("GET", f"/v1/sessions/{session}/budget?agent_id=runaway")
                connection.getresponse().read()
                asked.append(time.monotonic() - began)
                time.sleep(EVERY)
            time.sleep(3)
        finally:
            stop(process)
            mailbox.shutdown()
    delays = sorted(told[session] - at for session, at in crossed.items() if session in told)
    print(f"{len(delays)} of {sessions} sessions were told to stop, at {RATE:,} lines/s beside them")
    for name, found in (("stop", delays), ("budget", sorted(asked))):
        p50, p99 = quantile(found, 0.5) * 1000, quantile(found, 0.99) * 1000
        print(f"{name:8} p50 {p50:6.0f} ms   p99 {p99:6.0f} ms   slowest {found[-1] * 1000:6.0f} ms")


if __name__ == "__main__":
    main()
