"""Standard input is read as it comes, without waiting, to its end."""

import os
import pty
import tty

import pytest

from agent_exporter.lines import MAX_LINE
from agent_exporter.sources.stdin import StdinSource


@pytest.fixture
def pipe():
    read, write = os.pipe()
    ends = {"read": read, "write": write}
    yield ends
    for fd in ends.values():
        os.close(fd)


def drain(source):
    lines, too_long = [], 0
    while (batch := source.read()) is not None:
        lines += batch.lines
        too_long += batch.too_long
    return lines, too_long


def test_a_pipe_is_read_without_waiting_and_to_its_end(pipe):
    """An unfinished line waits for its rest; at the end it counts as a line."""
    source = StdinSource("-", pipe["read"])
    assert source.read() is None
    os.write(pipe["write"], b"one\r\ntw")
    assert drain(source) == ([b"one"], 0)
    os.write(pipe["write"], b"o\n\nthree")
    assert drain(source) == ([b"two"], 0)
    assert not source.finished
    os.close(pipe.pop("write"))
    assert drain(source) == ([b"three"], 0)
    assert source.finished
    assert source.read() is None


def test_single_bytes_make_the_same_lines(pipe):
    """As a slow writer sends them."""
    source = StdinSource("-", pipe["read"])
    got = []
    for byte in b"\xef\xbb\xbfone\n\xe2\x80\xa8\0two\n":
        os.write(pipe["write"], bytes([byte]))
        got += drain(source)[0]
    assert got == [b"one", "\u2028\0two".encode()]


def test_a_file_is_read_to_its_end(tmp_path):
    """`agent-exporter run - < file`."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * (MAX_LINE + 1) + b"\ntwo")
    with path.open("rb") as file:
        source = StdinSource("-", file.fileno())
        assert drain(source) == ([b"one", b"two"], 1)
        assert source.finished


def test_what_is_in_the_pipe_now_is_a_backlog_and_what_comes_later_is_not():
    """In bytes, as nothing else is known of it."""
    reading, writing = os.pipe()
    try:
        source = StdinSource("-", reading)
        assert source.backlog(lambda _: True) is None
        os.write(writing, b"x" * 30_000)
        assert source.backlog(lambda origin: origin.path != "-") is None
        read = source.backlog(lambda origin: origin.path == "-")
        assert source.unread() == 30_000
        assert not read()
        os.write(writing, b"x" * 10_000)
        while not read():
            source.read()
    finally:
        os.close(reading)
        os.close(writing)


def test_a_terminal_is_read_until_it_hangs_up():
    """The error that a vanished terminal gives is an end like any other."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    source = StdinSource("-", theirs)
    assert source.read() is None
    os.write(ours, b"one\ntwo")
    assert drain(source) == ([b"one"], 0)
    os.close(ours)
    assert drain(source) == ([b"two"], 0)
    assert source.finished
    os.close(theirs)


def test_a_closed_standard_input_is_an_end():
    """A service manager may start us without one."""
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    source = StdinSource("-", read)
    assert drain(source) == ([], 0)
    assert source.finished


def test_there_is_no_state():
    """What was read cannot be read again."""
    source = StdinSource()
    source.restore([("x", b"y")])
    source.note(0, "")
    source.refused()
    source.committed()
    assert list(source.changes()) == []
