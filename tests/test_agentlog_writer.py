"""agentlog: lines arrive whole, once, and no agent ever waits for them."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from agentlines import Log
from running import eventually

from agent_exporter.action import Action, decode
from agentlog import AgentLogger, writer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="agents run on POSIX here")


def said(path: Path) -> list[dict]:
    """The lines of a file, each accepted by the exporter."""
    raw = path.read_bytes().splitlines()
    assert [line for line in raw if not isinstance(decode(line), Action)] == []
    return [json.loads(line) for line in raw]


def script(text: str, *arguments: object, **options) -> subprocess.Popen:
    """A program with agentlog in it."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


class Pipe:
    """A pipe that nobody reads yet."""

    def __init__(self) -> None:
        self.end, write = os.pipe()
        self.stream = os.fdopen(write, "w")

    def read(self) -> list[bytes]:
        """Everything, until the writing end is closed."""
        with os.fdopen(self.end, "rb") as end:
            return end.read().splitlines()


def test_a_full_pipe_does_not_block_the_agent():
    """More lines than any pipe holds are said before a single one is read; then all of them are there, in order."""
    pipe = Pipe()
    log = AgentLogger("a", stream=pipe.stream)
    with log.session() as s:
        for n in range(5_000):
            with s.action(f"act{n}"):
                pass
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(pipe.read()))
    reader.start()
    log.flush()
    pipe.stream.close()
    reader.join()
    assert all(isinstance(decode(line), Action) for line in lines)
    assert [json.loads(line)["action"] for line in lines] == [*(f"act{n}" for n in range(5_000)), "session_end"]


def test_beyond_the_bound_the_newest_are_dropped_and_the_next_line_tells(monkeypatch):
    """What was written and what was dropped is what was said, to the unit."""
    monkeypatch.setattr(writer, "MAX_QUEUED", 200_000)
    pipe = Pipe()
    log = AgentLogger("a", stream=pipe.stream)
    for _ in range(5_000):
        log.heartbeat("idle")
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(pipe.read()))
    reader.start()
    log.flush()
    log.heartbeat("working", "again")
    log.flush()
    pipe.stream.close()
    reader.join()
    told = [json.loads(line).get("metadata", {}).get("lines_dropped") for line in lines]
    assert len(lines) < 5_000
    assert told == [None] * (len(lines) - 1) + [5_001 - len(lines)]


def test_lines_of_many_threads_agents_and_processes_stay_whole(tmp_path):
    """One file, four processes of two agents and four threads each."""
    path = tmp_path / "agents.log"
    program = """
        import sys, threading
        from agentlog import AgentLogger
        logs = [AgentLogger("a", path=sys.argv[1]), AgentLogger("b", path=sys.argv[1])]
        def work(log):
            with log.session() as s:
                for n in range(100):
                    with s.action("act", input={"text": "x" * 5_000}):
                        pass
        threads = [threading.Thread(target=work, args=(log,)) for log in logs for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    for running in [script(program, path) for _ in range(4)]:
        assert running.communicate() == (b"", b"")
    assert len(said(path)) == 4 * 2 * 4 * 101


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError", "atexit.register(log.heartbeat, 'idle')"])
def test_the_end_of_the_program_waits_for_the_lines(end):
    """However it ends, short of being killed."""
    running = script(f"""
        import atexit, sys
        from agentlog import AgentLogger
        log = AgentLogger("a")
        for _ in range(1000): log.heartbeat("idle")
        {end}
    """)
    out, _ = running.communicate()
    assert len(out.splitlines()) == 1000 + ("atexit" in end)


def test_the_end_of_the_program_does_not_wait_for_ever():
    """Nobody reads, and it ends all the same, as it would have."""
    running = script("""
        from agentlog import AgentLogger
        log = AgentLogger("a")
        for _ in range(10_000): log.heartbeat("idle")
    """)
    assert running.wait(timeout=60) == 0
    assert running.communicate()[1] == b""


def test_lines_keep_their_place_among_what_the_agent_prints():
    """Through a pipe, where print itself only fills a buffer."""
    running = script("""
        from agentlog import AgentLogger
        log = AgentLogger("a")
        for n in range(3):
            print("before", n)
            log.heartbeat("idle")
            log.flush()
    """)
    out, _ = running.communicate()
    assert [row[:8] for row in out.splitlines()] == [
        b"before 0",
        b'{"timest',
        b"before 1",
        b'{"timest',
        b"before 2",
        b'{"timest',
    ]


def test_what_is_printed_without_a_buffer_does_not_end_in_a_line_of_the_log():
    """PYTHONUNBUFFERED, as in most images: there print writes a text, and then its newline."""
    running = script(
        """
        from agentlog import AgentLogger
        log = AgentLogger("a")
        for n in range(500):
            log.heartbeat("idle")
            print("result", n)
        """,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    out, _ = running.communicate()
    assert sorted(row[:6] for row in out.splitlines()) == [b"result"] * 500 + [b'{"time'] * 500


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_process_writes_its_own_lines_and_only_those(tmp_path, method):
    """What the parent had queued is not written twice, and what the worker said last is not lost."""
    path = tmp_path / "agents.log"
    log = AgentLogger("parent", path=path)
    log.heartbeat("idle")
    process = multiprocessing.get_context(method).Process(target=_work, args=(path,))
    process.start()
    process.join()
    log.flush()
    assert process.exitcode == 0
    assert sorted(line["agent_id"] for line in said(path)) == ["parent", *["worker"] * 100]


def _work(path: Path) -> None:
    log = AgentLogger("worker", path=path)
    for _ in range(100):
        log.heartbeat("working")


def test_a_fork_in_the_middle_of_a_write_leaves_no_empty_line(tmp_path):
    """The parent finishes its line itself: for the child nothing is torn."""
    path = tmp_path / "agents.log"
    running = script(f"""
        import os
        from pathlib import Path
        from agentlog import AgentLogger

        def fork_and_write(file, text):
            os.write = write
            if os.fork() == 0:
                worker = AgentLogger("worker", path=path)
                worker.heartbeat("idle")
                worker.flush()
                os._exit(0)
            os.wait()
            return write(file, text)

        path = Path({str(path)!r})
        log = AgentLogger("parent", path=path)
        write, os.write = os.write, fork_and_write
        log.heartbeat("idle")
        log.flush()
    """)
    running.communicate()
    assert running.returncode == 0
    assert [line["agent_id"] for line in said(path)] == ["worker", "parent"]


def test_a_fork_in_the_middle_of_a_session_goes_on_in_both():
    """With the parent's logger: one line each, and the child has a writer of its own."""
    running = script("""
        import os
        from agentlog import AgentLogger
        log = AgentLogger("a")
        with log.session(session_id="s") as s:
            with s.action("before"): pass
            if os.fork() == 0:
                with s.action("child"): pass
                log.flush()
                os._exit(0)
            os.wait()
            with s.action("parent"): pass
    """)
    out, _ = running.communicate()
    assert sorted(json.loads(line)["action"] for line in out.splitlines()) == [
        "before",
        "child",
        "parent",
        "session_end",
    ]
    assert len({json.loads(line).get("span_id") for line in out.splitlines()}) == 4


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path):
    """As logrotate does."""
    path = tmp_path / "agents.log"
    log = AgentLogger("a", path=path)
    log.heartbeat("idle")
    log.flush()
    path.rename(tmp_path / "agents.log.1")
    log.heartbeat("working")
    log.flush()
    assert [line["output"] for line in said(tmp_path / "agents.log.1")] == [{"state": "idle"}]
    assert [line["output"] for line in said(path)] == [{"state": "working"}]


def test_a_path_that_cannot_be_is_told_at_once(tmp_path):
    """When the logger is made, not when the first line is lost."""
    with pytest.raises(FileNotFoundError):
        AgentLogger("a", path=tmp_path / "nowhere" / "agents.log")


def test_a_full_disk_costs_lines_and_says_so_once(capsys, monkeypatch, tmp_path):
    """What was torn off stands on a line of its own; then all goes on, with the count of what is lost."""
    path = tmp_path / "agents.log"
    log = AgentLogger("a", path=path)
    whole = os.write

    def half(file: int, text: bytes) -> int:
        whole(file, text[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "write", half)
    log.heartbeat("idle")
    log.flush()
    log.heartbeat("idle")
    log.flush()
    monkeypatch.undo()
    log.heartbeat("working")
    log.flush()
    torn, torn_too, last = path.read_bytes().splitlines()
    assert len(torn) == len(torn_too) + 1 == 20
    assert json.loads(last)["metadata"] == {"lines_dropped": 2}
    assert capsys.readouterr().err == "agentlog: lines are lost: OSError: [Errno 28] No space left on device\n"


def test_a_closed_pipe_is_no_reason_for_the_agent_to_fail(capsys):
    """It goes on without a log, and stderr says once that it does."""
    pipe = Pipe()
    log = AgentLogger("a", stream=pipe.stream)
    os.close(pipe.end)
    for _ in range(3):
        log.heartbeat("idle")
        log.flush()
    pipe.stream.close()
    assert capsys.readouterr().err == "agentlog: lines are lost: BrokenPipeError: [Errno 32] Broken pipe\n"


def test_a_pipe_that_does_not_block_is_waited_for_all_the_same():
    """Some parents make it so; a line that does not fit goes out in parts."""
    pipe = Pipe()
    os.set_blocking(pipe.stream.fileno(), False)
    log = AgentLogger("a", stream=pipe.stream)
    for _ in range(2_000):
        log.heartbeat("working", "x" * 900)
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(pipe.read()))
    reader.start()
    log.flush()
    pipe.stream.close()
    reader.join()
    assert len(lines) == 2_000
    assert all(isinstance(decode(line), Action) for line in lines)


def test_the_thread_ends_when_there_is_nothing_to_say_and_comes_back(monkeypatch):
    """An agent that sleeps for hours holds neither a thread nor a file."""
    monkeypatch.setattr(writer, "IDLE", 0.001)
    log = Log()
    for count in (1, 2, 3):
        log.heartbeat("idle")
        eventually(lambda: log._writer._thread is None)
        assert len(log.lines()) == count


def test_agents_that_write_to_the_same_place_share_a_writer(tmp_path):
    """Or a path that leads there."""
    first = AgentLogger("a", path=tmp_path / "agents.log")
    second = AgentLogger("b", path=tmp_path / "." / "agents.log")
    assert first._writer is second._writer is first.named("c")._writer


def test_a_formatter_that_fails_costs_the_line(monkeypatch):
    """And the next one tells."""
    log = Log()
    with monkeypatch.context() as patched:
        patched.setattr(log._writer, "format", lambda _: 1 / 0)
        log.heartbeat("idle")
    log.heartbeat("idle")
    assert [line["metadata"] for line in log.lines()] == [{"lines_dropped": 1}]
