"""Prints lines of 1 to 400 KB as an agent, with plain text on stderr in between, and stays."""

import json
import signal
import sys
from datetime import UTC, datetime

SIZES = {"short": 1_000, "two pieces": 20_000, "three pieces": 40_000, "many pieces": 400_000}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as process 1 it would not hear it
    for name, size in SIZES.items():
        line = {
            "timestamp": datetime.now(UTC).isoformat(),
            "agent_id": "lengthy-01",
            "session_id": "lengthy",
            "trace_id": "1e".ljust(32, "0"),
            "action": "llm_call",
            "status": "success",
            "tokens": {"prompt": size, "completion": 1},
            "input": {"name": name, "prompt": "äb" * (size // 3)},
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)
        print("a warning of some library", file=sys.stderr, flush=True)
    signal.pause()


main()
