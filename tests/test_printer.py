"""What is written for others to read never waits for them."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import urllib.request

import pytest
from running import ROOT, eventually, free_port

from agent_exporter.cli import console
from agent_exporter.detectors import journal as module
from agent_exporter.detectors.finding import Finding
from agent_exporter.detectors.journal import Journal
from agent_exporter.printer import Printer

PIPE = 1 << 16
"""Bytes that a pipe takes without a reader."""


@pytest.fixture
def pipe():
    """(the end to read, the end to write)"""
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


def take(end: int, size: int) -> bytes:
    """So many bytes of a pipe."""
    taken = bytearray()
    while len(taken) < size:
        taken += os.read(end, size - len(taken))
    return bytes(taken)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_stalls_is_waited_for_elsewhere(pipe, blocking):
    """And gets all of it, whoever else has made the pipe non-blocking."""
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    printer = Printer(writing)
    batch = os.urandom(3 * PIPE)
    printer(batch)
    assert printer.busy()
    assert not printer.wait(0.05)
    assert printer.stalled() > 0
    assert take(reading, len(batch)) == batch
    assert printer.wait(5)
    assert (printer.busy(), printer.stalled()) == (False, 0.0)
    printer(b"next")
    assert take(reading, 4) == b"next"


def test_a_reader_that_has_gone_ends_nothing(pipe):
    """What it would have read is on the page still."""
    reading, writing = pipe
    os.close(reading)
    printer = Printer(writing)
    for _ in range(2):
        printer(b"x")
        assert printer.wait(5)


def finding(number: int) -> Finding:
    return Finding(kind="loop", agent_id="a", session_id=f"s{number}", at=0.0, evidence={})


def test_findings_wait_for_the_printer_and_are_marked_once_they_are_printed(monkeypatch):
    """In order, and no more of them than there is room for; those that went are counted."""
    monkeypatch.setattr(module, "MAX_UNPRINTED", 3)
    batches: list[bytes] = []
    busy = threading.Event()
    journal = Journal(batches.append, busy.is_set)

    def printed() -> list[str]:
        return [text.split(b'"session_id":"')[1].split(b'"')[0].decode() for text in b"".join(batches).splitlines()]

    busy.set()
    journal.add(finding(0))
    assert not journal.committed()
    for number in range(1, 6):
        journal.add(finding(number))
        assert not journal.committed()
    assert (printed(), dict(journal.evicted())) == (["s0"], {"unprinted": 2})
    busy.clear()
    assert journal.committed()
    assert printed() == ["s0", "s3", "s4", "s5"]
    assert not journal.committed()


def fill(end: int) -> int:
    """Bytes after which a pipe takes no more."""
    os.set_blocking(end, False)
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += os.write(end, b"x" * 4096)
    os.set_blocking(end, True)
    return size


def test_messages_wait_for_standard_error_elsewhere_and_say_how_many_were_dropped(pipe, monkeypatch):
    """A full pipe holds up nobody who logs."""
    reading, writing = pipe
    size = fill(writing)
    monkeypatch.setattr(console, "MAX_WAITING", 10)
    background = console._Background(writing, console._OneLine("%(message)s"))
    logger = logging.getLogger("background")
    logger.propagate = False
    logger.addHandler(background)
    logger.warning("0")
    eventually(background._waiting.empty)  # the thread waits for the pipe with it
    for number in range(1, 500):
        logger.warning("%d", number)
    take(reading, size)
    background.wait(10)
    logger.warning("after it")
    background.wait(10)
    logger.removeHandler(background)
    os.close(writing)
    rows = b"".join(iter(lambda: os.read(reading, 4096), b"")).decode().splitlines()
    dropped = "489 messages were dropped: standard error was not read"
    assert rows == [*map(str, range(11)), dropped, "after it"]


def test_a_run_ends_though_nobody_reads_its_messages(pipe, tmp_path):
    """Its end is not held up for longer than the messages get."""
    fill(pipe[1])
    log, port = tmp_path / "agents.log", free_port()
    log.touch()
    address = f"127.0.0.1:{port}"
    argv = ("run", "--state.path=none", "--web.listen-address", address, str(log))
    with subprocess.Popen(
        [sys.executable, "-m", "agent_exporter", *argv], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=pipe[1]
    ) as process:
        eventually(lambda: answers(f"http://{address}/-/ready"))
        process.terminate()
        assert process.wait(20) == 0


def answers(url: str) -> bool:
    """Whether it does, with 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200
    return False
