"""An agent that runs away: `python runaway.py LOG SESSIONS TOKENS SECONDS [ignore] [parallel] [stay] [slow=SECONDS]`.

It prints its port first. Each session calls a model every SECONDS, TOKENS at a time, and logs it, until it is told to
stop at POST /v1/sessions/{id}/terminate. It notes every such request in LOG.calls and logs its end, unless it is to
ignore it. `slow`: it takes so long to stop, and to answer. `stay`: once its sessions have ended it goes on to listen
and to note.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

LOG, SESSIONS, TOKENS, SECONDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
IGNORES = "ignore" in sys.argv[5:]
CALLS = 50 if "parallel" in sys.argv[5:] else 1
"""Of each session at the same time."""
SLOW = sum(float(word[5:]) for word in sys.argv[5:] if word.startswith("slow="))
stop = {f"s/{n}": threading.Event() for n in range(SESSIONS)}
writing = threading.Lock()


def append(path: str, entry: dict) -> None:
    """One line, whole."""
    with writing:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
        os.close(descriptor)


def say(session: str, action: str, **fields) -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    append(
        LOG,
        {"timestamp": now, "agent_id": "runaway", "session_id": session, "action": action, "status": "success"}
        | fields,
    )


def work(session: str) -> None:
    while not stop[session].wait(SECONDS):
        say(session, "llm_call", tokens={"prompt": TOKENS, "completion": 0})


def run(session: str) -> None:
    threads = [threading.Thread(target=work, args=(session,)) for _ in range(CALLS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(session, "stopped", metadata={"session_end": True})


class Mailbox(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session = unquote(self.path.split("/")[3])
        told = {"at": time.time(), "session": session, "key": self.headers["Idempotency-Key"], "body": body}
        append(f"{LOG}.calls", told)
        time.sleep(SLOW)
        if not IGNORES:
            stop[session].set()
        with contextlib.suppress(OSError):  # who called may be dead by now
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: its output is its port."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Mailbox)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
threads = [threading.Thread(target=run, args=(session,)) for session in stop]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if "stay" in sys.argv[5:]:
    signal.pause()
