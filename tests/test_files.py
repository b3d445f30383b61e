"""Every line on disk is delivered once, whatever happens to the file it is in."""

import gzip
import json
import logging
import os
import shutil
import socket
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from agent_exporter.lines import MAX_LINE
from agent_exporter.sources import files
from agent_exporter.sources.files import FileSource
from agent_exporter.sources.once import PastFiles, numbered
from agent_exporter.sources.place import Claims


class World:
    """A folder of logs, a clock, and the rows that were committed; `source` is what is tested."""

    def __init__(self, folder, pattern="*.log*", **options):
        self.folder = folder
        self.pattern = str(folder / pattern)
        self.options = options
        self.now = 0.0
        self.rows = {}
        self.lines = []
        self.too_long = 0
        self.nul_bytes = 0
        self.start()

    def start(self):
        self.source = FileSource("test", self.pattern, clock=lambda: self.now, **self.options)
        self.source.restore(self.rows.items())

    def restart(self):
        """As after SIGKILL: only what was committed is left."""
        self.source.close()
        self.start()

    def path(self, name="agent.log"):
        return self.folder / name

    def write(self, data, name="agent.log"):
        with self.path(name).open("ab") as file:
            file.write(data)

    def truncate(self, name="agent.log"):
        os.truncate(self.path(name), 0)

    def copytruncate(self, copy, name="agent.log"):
        shutil.copyfile(self.path(name), self.path(copy))
        self.truncate(name)

    def commit(self):
        for kind, key, value in self.source.changes():
            assert kind == "file"
            key.encode()
            self.rows.pop(key, None)
            if value is not None:
                self.rows[key] = value
        self.source.committed()

    def poll(self):
        """All there is to read now; the lines since the last poll."""
        new = []
        while (batch := self.source.read()) is not None:
            new += batch.lines
            self.too_long += batch.too_long
            self.nul_bytes += batch.nul_bytes
        self.lines += new
        return new

    def scan(self, seconds=1.0):
        self.now += seconds
        return self.poll()

    def quiet(self):
        """Time enough for a rotated file to be given up."""
        return [line for _ in range(8) for line in self.scan()]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.source.close()


def many(start, stop, size=120):
    return [b'{"timestamp": "2026", "id": %06d, "pad": "%s"}' % (i, b"x" * size) for i in range(start, stop)]


def text(lines):
    return b"".join(line + b"\n" for line in lines)


# Growing


def test_lines_are_delivered_as_they_come(world):
    """An unfinished line waits for its rest."""
    world.write(b"one\ntw")
    assert world.poll() == [b"one"]
    world.write(b"o\n")
    assert world.poll() == [b"two"]
    assert world.poll() == []


def test_odd_bytes_make_the_same_lines_as_a_clean_file(world):
    """BOM, CRLF and blank lines are left out; NUL and U+2028 are part of a line."""
    world.write(b"\xef\xbb\xbfone\r\n\r\n  \n\n")
    world.write("t\u2028w\0o\n".encode())
    assert world.poll() == [b"one", "t\u2028w\0o".encode()]


def test_single_bytes_make_the_same_lines(world):
    """As a slow writer sends them."""
    for byte in b"\xef\xbb\xbfone\r\ntwo\n":
        world.write(bytes([byte]))
        world.scan()
    assert world.lines == [b"one", b"two"]


def test_a_partial_line_at_a_kill_is_counted_once(world):
    """The offset never passes the last newline."""
    world.write(b"one\ntw")
    world.poll()
    world.commit()
    world.restart()
    assert world.scan() == []
    world.write(b"o\n")
    assert world.scan() == [b"two"]


def test_a_restart_goes_on_from_the_last_commit(world):
    """Lines after it are delivered again, lines before it are not."""
    world.write(b"one\n")
    world.poll()
    world.commit()
    world.write(b"two\n")
    assert world.poll() == [b"two"]
    world.restart()
    assert world.poll() == [b"two"]


def test_nothing_changes_when_nothing_is_read(world):
    """A quiet file costs no writing of state."""
    world.write(b"one\n")
    world.poll()
    assert len(list(world.source.changes())) == 1
    world.scan()
    assert list(world.source.changes()) == []


def test_a_huge_file_does_not_starve_the_others(world):
    """Blocks are taken from each in turn."""
    world.write(text(many(0, 5000)), "a.log")
    world.write(b"small\n", "b.log")
    batches = [world.source.read(), world.source.read()]
    assert b"small" in [line for batch in batches for line in batch.lines]
    assert world.source.unread() > 0
    world.poll()
    assert world.source.unread() == 0
    done, total = world.source.progress()
    assert done == total == sum(path.stat().st_size for path in world.folder.iterdir())


def test_reading_can_start_at_the_end(tmp_path):
    """Of a file that is there at the first start; the line being written is not half a line."""
    world = World(tmp_path, start_at="end")
    world.write(b"old\nhal")
    assert world.poll() == []
    world.write(b"f\nnew\n")
    world.write(b"later\n", "later.log")
    assert world.scan() == [b"new", b"later"]
    world.commit()
    world.write(b"while down\n", "down.log")
    world.restart()
    assert world.scan() == [b"while down"]


def test_docker_pieces_survive_a_restart_and_a_rotation(world):
    """A record in pieces is one record, wherever it is interrupted."""

    def piece(log):
        return json.dumps({"log": log, "stream": "stdout", "time": "t"}).encode() + b"\n"

    world.write(piece("a"))
    world.poll()
    world.commit()
    world.restart()
    world.write(piece("b"))
    world.poll()
    world.path().rename(world.path("agent.log.1"))
    world.write(piece("c\n") + piece("d\n"))
    world.scan()
    assert world.lines == [b"abc", b"d"]


def test_pieces_without_an_end_are_given_up_once(world):
    """When their file was rotated away and no other came; a restart does not repeat them."""
    world.write(b'{"log": "half", "stream": "stdout"}\n')
    world.poll()
    world.commit()
    world.path().rename(world.path("agent.log.1"))
    assert world.quiet() == [b"half"]
    world.commit()
    world.restart()
    assert world.quiet() == []


# Long lines


def test_a_long_line_is_skipped_in_constant_memory(world):
    """100 MB without a newline cost a few MiB and one count; the next line is read."""
    with world.path().open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    world.write(b"\ngood\n")
    tracemalloc.start()
    assert world.poll() == [b"good"]
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert world.too_long == 1


def test_a_restart_amid_a_long_line_counts_it_once(world):
    """The state knows that its rest is to be skipped."""
    world.write(b"x" * (MAX_LINE + 10))
    assert world.poll() == []
    world.commit()
    world.restart()
    world.write(b"y" * 10 + b"\ngood\n")
    assert world.poll() == [b"good"]
    assert world.too_long == 1


@pytest.mark.parametrize("size", [65535, 65536, 65537, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, MAX_LINE + 2])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_limit_is_exact(world, size, end):
    """A line of just MAX_LINE bytes is a line."""
    world.write(b"one\n" + b"x" * size + end + b"two" + end)
    world.poll()
    assert [len(line) for line in world.lines] == [3, *([size] if size <= MAX_LINE else []), 3]
    assert world.too_long == (size > MAX_LINE)


# Rotation


@pytest.mark.parametrize("pattern", ["*.log*", "*.log"])
@pytest.mark.parametrize("restart", [False, True])
def test_rotation_by_rename_loses_nothing(tmp_path, pattern, restart):
    """With the new name inside or outside the pattern, running or not."""
    world = World(tmp_path, pattern)
    world.write(b"one\n")
    world.poll()
    world.commit()
    world.write(b"two\n")
    world.path().rename(world.path("agent.log.1"))
    world.write(b"three\n")
    if restart:
        world.restart()
    world.quiet()
    assert sorted(world.lines) == [b"one", b"three", b"two"]
    world.write(b"four\n", "agent.log.1")  # by a writer that has not noticed yet
    assert world.scan() == [b"four"]


def test_the_old_file_is_read_before_the_new_one(world):
    """So that a session's lines keep their order over a rotation."""
    lines = many(0, 3000)
    world.write(text(lines[:10]))
    world.poll()
    world.write(text(lines[10:2000]))
    world.path().rename(world.path("agent.log.1"))
    world.write(text(lines[2000:]))
    world.scan()
    assert world.lines == lines


def test_the_last_line_of_a_rotated_file_needs_no_newline(world):
    """Once the file has been quiet for a while; not in a file that may go on."""
    world.write(b"one\nlast")
    world.poll()
    world.path().rename(world.path("agent.log.1"))
    world.write(b"new\nmore")
    assert world.scan() == [b"new"]
    assert world.quiet() == [b"last"]
    world.commit()
    world.restart()
    assert world.quiet() == []


def test_a_deleted_file_is_read_to_its_end(world):
    """Its lines are there as long as it is open; then its space is given back."""
    world.write(b"one\n")
    world.poll()
    world.write(b"two\nlast")
    world.path().unlink()
    assert world.scan() == [b"two"]
    assert world.quiet() == [b"last"]
    assert not world.source._open


@pytest.mark.parametrize("seen", [False, True])
def test_a_copy_inside_the_pattern_is_not_read_again(world, seen):
    """What was unread at the truncation is read from the copy, whether the copy was seen before it or not."""
    lines = many(0, 300)
    world.write(text(lines[:100]))
    world.poll()
    world.write(text(lines[100:200]))
    shutil.copyfile(world.path(), world.path("agent.log.1"))
    if seen:
        world.scan()
    world.truncate()
    world.write(text(lines[200:]))
    world.scan()
    world.scan()
    assert sorted(world.lines) == lines
    assert world.source.truncations == 1
    world.commit()
    world.restart()
    assert world.quiet() == []


def test_a_copy_that_ends_before_the_last_reads_is_not_read_again(world):
    """Lines were written and read between the copying and the truncation."""
    lines = many(0, 120)
    for i in range(0, 100, 10):
        world.write(text(lines[i : i + 10]))
        world.poll()
    copied = world.path().read_bytes() + text(lines[100:105])
    world.write(text(lines[100:120]))
    world.poll()
    world.path("agent.log.1").write_bytes(copied)
    world.truncate()
    world.quiet()
    assert world.lines == lines


def test_a_copy_that_is_still_being_made_is_left_alone(world):
    """It is read only after its original was truncated, from where that had been read."""
    lines = many(0, 100)
    world.write(text(lines))
    world.poll()
    data = world.path().read_bytes()
    for part in (0, 10, 3000, 5000, len(data)):
        world.path("agent.log.1").write_bytes(data[:part])
        world.scan()
    world.truncate()
    world.quiet()
    assert world.lines == lines


def test_a_backup_beside_its_original_is_not_read(world):
    """Nor is it after the original has long gone on and is truncated."""
    lines = many(0, 100)
    world.write(text(lines[:50]))
    world.poll()
    shutil.copyfile(world.path(), world.path("backup.log"))
    world.quiet()
    for i in range(50, 100):
        world.write(text(lines[i : i + 1]))
        world.poll()
    world.truncate()
    world.quiet()
    assert world.lines == lines


@pytest.mark.parametrize("restart", [False, True])
def test_a_copy_that_turns_up_after_its_original_was_read_anew_is_known(world, restart):
    """What was truncated is remembered, over a restart too."""
    lines = many(0, 100)
    world.write(text(lines[:50]))
    world.poll()
    data = world.path().read_bytes()
    world.truncate()
    world.write(text(lines[50:]))
    world.poll()
    world.commit()
    if restart:
        world.restart()
    world.path("agent.log.1").write_bytes(data)
    world.quiet()
    assert world.lines == lines


def test_a_backup_is_remembered_over_a_restart(world):
    """Though not a line of it was read."""
    world.write(text(many(0, 50)))
    world.poll()
    shutil.copyfile(world.path(), world.path("backup.log"))
    world.quiet()
    world.commit()
    world.path().unlink()
    world.rows = {key: value for key, value in world.rows.items() if b"backup.log" in value}
    world.restart()
    assert world.quiet() == []


def test_a_name_that_changes_hands_before_it_is_opened_stands_for_two_files(world):
    """Between the look at a closed file and its opening."""
    world.write(b"one\n")
    world.poll()
    world.source._close(next(iter(world.source._files.values())))
    world.write(b"two\n")
    world.source._scan(world.now)
    world.path().rename(world.path("agent.log.1"))
    world.write(b"0123\nthree\n")
    world.quiet()
    assert sorted(world.lines) == [b"0123", b"one", b"three", b"two"]
    assert world.source.truncations == 0


def test_a_copy_outside_the_pattern_costs_only_what_was_not_read(tmp_path):
    """The truncation and the bytes are counted, once it is clear that no copy comes."""
    world = World(tmp_path, "*.log")
    world.write(b"one\n")
    world.poll()
    world.write(b"x" * 99 + b"\n")
    world.source._next_scan = 0  # a scan sees the bytes, but the truncation comes before the reading
    world.source._scan(world.now)
    world.copytruncate("agent.log.1")
    world.write(b"two\n")
    assert world.scan() == [b"two"]
    assert world.source.truncations == 1
    assert world.source.lost_bytes == 0
    world.scan(11)
    assert world.source.lost_bytes == 100


def test_an_empty_file_is_read_as_soon_as_it_has_something(world):
    """What it gets may be cut before the next scan."""
    world.write(b"")
    world.poll()
    world.write(b"one\n")
    assert world.scan(0.01) == [b"one"]


@pytest.mark.parametrize(("pattern", "lost"), [("*.log", 500), ("*", 0)])
def test_what_a_file_got_between_a_look_and_its_truncation_is_estimated(tmp_path, pattern, lost):
    """By how fast it grew; a copy that the pattern matches has it."""
    world = World(tmp_path, pattern)
    for _ in range(4):
        world.write((b"x" * 99 + b"\n") * 10)
        world.scan()
    world.now += 0.5
    world.write((b"x" * 99 + b"\n") * 5)
    world.copytruncate("agent.log.1")
    world.write(b"two\n")
    world.scan(0)
    world.quiet()
    world.scan(11)
    assert len(world.lines) == (41 if lost else 46)
    assert world.source.lost_bytes == lost


def test_a_file_that_is_deleted_before_it_was_read_is_lost(world, monkeypatch):
    """Unless it is open: then it is read to its end."""
    world.write(b"one\n")
    world.poll()
    world.source._close(next(iter(world.source._files.values())))
    world.write(b"two\n")
    world.source._scan(world.now)
    world.path().unlink()
    world.scan()
    world.scan(11)
    assert (world.lines, world.source.lost_bytes) == ([b"one"], 4)


def test_a_restart_after_a_copytruncate_reads_on_in_the_copy(world):
    """The state is from before the truncation, or from after it but before the copy was found."""
    lines = many(0, 300)
    world.write(text(lines[:100]))
    world.poll()
    world.commit()
    world.write(text(lines[100:200]))
    world.copytruncate("agent.log.1")
    world.write(text(lines[200:]))
    world.restart()
    world.quiet()
    assert sorted(world.lines) == lines


def test_truncation_is_seen_when_all_lines_share_their_first_4_kib(world):
    """Here the first bytes cannot tell one content from another; the bytes before the offset do."""
    lines = [b"x" * 4096 + b"%06d" % i for i in range(40)]
    world.write(text(lines[:10]))
    world.poll()
    world.copytruncate("agent.log.1")
    world.write(text(lines[10:30]))
    world.quiet()
    world.path().rename(world.path("agent.log.2"))
    world.write(text(lines[30:]))
    world.quiet()
    assert sorted(world.lines) == lines


def test_a_file_refilled_past_the_old_offset_is_read_from_its_start(world):
    """Within one poll: its size never fell as far as we can see."""
    lines = many(0, 50)
    world.write(text(lines[:10]))
    world.poll()
    world.truncate()
    world.write(text(lines[10:]))
    world.poll()
    assert world.lines == lines


def test_a_file_refilled_to_the_same_size_is_read_from_its_start(world):
    """Within the grain of mtime: nothing that `stat` says has changed."""
    world.write(b"one\n")
    assert world.poll() == [b"one"]
    before = world.path().stat()
    world.truncate()
    world.write(b"two\n")
    os.utime(world.path(), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert world.poll() == [b"two"]


def test_an_inode_that_is_used_again_is_a_new_file(world):
    """Deleted and made anew while nobody looked: the content tells."""
    world.write(text(many(0, 10)))
    world.poll()
    world.commit()
    with world.path().open("r+b") as file:  # the same inode on any file system
        file.truncate()
        file.write(text(many(10, 30)))
    world.path().rename(world.path("other.log"))
    world.restart()
    world.quiet()
    assert world.lines == many(0, 30)


def test_a_banner_that_all_files_begin_with_hides_nothing(world):
    """A small new file that equals the start of another is taken for its own as soon as it differs."""
    world.write(b"agent started\n")
    world.poll()
    world.write(text(many(0, 3)))
    world.poll()
    world.path().rename(world.path("agent.log.1"))
    world.write(b"agent started\n{")
    world.quiet()
    world.write(b'"other": 1}\n' + text(many(3, 6)))
    world.quiet()
    assert world.lines == [b"agent started", *many(0, 3), b"agent started", b'{"other": 1}', *many(3, 6)]


def test_a_move_to_another_device_is_followed(world):
    """New dev and inode, as after a reboot that numbers disks anew: the content tells."""
    world.write(text(many(0, 10)))
    world.poll()
    world.commit()
    shutil.copyfile(world.path(), world.path("moved"))
    world.path("moved").replace(world.path())
    world.write(text(many(10, 12)))
    world.restart()
    world.quiet()
    assert world.lines == many(0, 12)


def test_a_symlink_that_is_swapped_is_followed(tmp_path):
    """Both files are read, each once."""
    world = World(tmp_path, "current")
    world.write(b"one\n", "a")
    world.write(b"two\n", "b")
    world.path("current").symlink_to("a")
    world.poll()
    world.path("link").symlink_to("b")
    world.path("link").rename(world.path("current"))
    world.write(b"late\n", "a")
    world.quiet()
    assert sorted(world.lines) == [b"late", b"one", b"two"]


def test_a_file_with_two_names_is_read_once(world):
    """Names of one pattern, and names of two patterns whose sources share their claims."""
    claims = Claims()
    one = World(world.folder, "*.log", claims=claims)
    two = World(world.folder, "a*", claims=claims)
    one.write(b"one\n")
    os.link(one.path(), one.path("b.log"))
    assert one.poll() + two.poll() == [b"one"]


def origin(world) -> str:
    """Where the lines of the last batch come from."""
    return world.source.origin(0).path


def test_a_line_comes_from_where_its_file_really_is(tmp_path):
    """A link in a folder of somebody else's, be it a file or a folder, must not have a runaway's lines pass for theirs."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "a").mkdir()
    world = World(tmp_path, "*/*.log")
    world.write(b"one\n", "victim/own.log")
    world.path("a/link.log").symlink_to("../victim/own.log")
    world.path("b").symlink_to("victim")
    assert world.poll() == [b"one"]
    assert origin(world) == str(tmp_path / "victim/own.log")


def test_after_a_rotation_lines_come_from_where_the_file_was_opened(world):
    """While it stays open, it is the same file."""
    world.write(b"one\n")
    world.poll()
    world.path().rename(world.path("agent.log.1"))
    world.write(b"late\n", "agent.log.1")
    assert world.quiet() == [b"late"]
    assert origin(world) == str(world.path())


def test_who_gets_the_inode_of_a_file_does_not_get_its_origin(tmp_path):
    """Nor with a copy of what was read of it: its own path is what counts after a restart."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "evil").mkdir()
    world = World(tmp_path, "*/*.log")
    world.write(text(many(0, 100)), "victim/own.log")
    world.poll()
    world.commit()
    world.path("victim/own.log").rename(world.path("evil/b.log"))  # an inode that is used again, on any file system
    world.write(b"forged\n", "evil/b.log")
    world.restart()
    assert world.poll() == [b"forged"]
    assert origin(world) == str(tmp_path / "evil/b.log")


def test_what_a_link_leads_to_is_read_by_the_source_that_has_its_name(tmp_path):
    """A link in another folder chooses neither the format nor whether lines count, whichever source comes first."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "evil").mkdir()
    claims = Claims()
    evil, victim = World(tmp_path, "evil/*.log", claims=claims), World(tmp_path, "victim/*.log", claims=claims)
    victim.write(b"one\n", "victim/own.log")
    victim.path("evil/link.log").symlink_to("../victim/own.log")
    assert (evil.poll(), victim.poll()) == ([], [b"one"])
    outside = World(tmp_path, "evil/*.log")
    assert outside.poll() == [b"one"]


def test_rows_of_other_patterns_are_left_to_them(tmp_path):
    """Neither read nor deleted."""
    one = World(tmp_path, "*.log")
    one.write(b"one\n")
    one.poll()
    one.commit()
    other = World(tmp_path, "*.txt")
    other.rows = one.rows
    other.restart()
    other.scan()
    other.scan(10_000)
    assert list(other.source.changes()) == []


def test_forgotten_files_leave_the_state(world):
    """An hour after they are gone."""
    world.write(b"one\n")
    world.poll()
    world.commit()
    world.path().unlink()
    world.quiet()
    world.commit()
    assert world.rows
    world.scan(3601)
    world.scan(3601)
    world.commit()
    assert not world.rows
    assert not world.source._claims


def test_what_is_remembered_is_bounded(world, monkeypatch):
    """However often files are rotated."""
    monkeypatch.setattr(files, "MAX_GONE", 5)
    for i in range(30):
        world.write(b"line %d\n" % i)
        world.scan()
        world.truncate() if i % 2 else world.path().unlink()
        world.scan()
        world.commit()
    assert world.lines == [b"line %d" % i for i in range(30)]
    assert len(world.rows) <= 12


def test_names_need_not_be_utf8(world):
    """Linux allows any bytes but NUL and the slash."""
    path = os.fsencode(world.folder) + b"/\xff\n.log"
    Path(os.fsdecode(path)).write_bytes(b"one\n")
    assert world.poll() == [b"one"]
    world.commit()
    world.restart()
    assert world.poll() == []


def test_a_name_may_look_like_a_pattern(tmp_path):
    """As it is written, if there is such a file."""
    world = World(tmp_path, "a[1].log")
    world.write(b"one\n", "a[1].log")
    assert world.poll() == [b"one"]


# What is in the way


def test_a_folder_that_vanishes_and_returns_goes_on(world, tmp_path):
    """Nothing is lost, nothing counted twice."""
    world.pattern = str(tmp_path / "logs" / "*.log")
    world.start()
    assert world.poll() == []
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").write_bytes(b"one\n")
    assert world.scan() == [b"one"]
    logs.rename(tmp_path / "away")
    world.quiet()
    with (tmp_path / "away" / "a.log").open("ab") as file:
        file.write(b"two\n")
    (tmp_path / "away").rename(logs)
    world.quiet()
    shutil.rmtree(logs)
    world.quiet()
    logs.mkdir()
    (logs / "a.log").write_bytes(b"three\n")
    world.quiet()
    assert world.lines == [b"one", b"two", b"three"]


def test_a_file_that_may_not_be_read_is_told_once_and_read_when_it_may(world, monkeypatch, caplog):
    """By a failing `open`, as permissions mean nothing to root."""
    allowed = os.open

    def denied(path, *args, **kwargs):
        if os.fspath(path) == str(world.path()):
            raise PermissionError(13, "Permission denied")
        return allowed(path, *args, **kwargs)

    world.write(b"one\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        world.quiet()
        assert world.source.problems == {str(world.path()): "Permission denied"}
    assert world.scan() == [b"one"]
    assert world.source.problems == {}
    assert [record.getMessage().split(".log' ")[1] for record in caplog.records] == [
        "cannot be read: Permission denied",
        "can be read again",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else and come back")
def test_a_folder_that_may_not_be_entered_is_no_rotation():
    """Seen as a user without the right: the files are not taken for deleted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "logs"
        folder.mkdir()
        Path(name).chmod(0o755)
        world = World(folder)
        world.write(b"one\npart")
        os.seteuid(65534)
        try:
            assert world.poll() == [b"one"]
            os.seteuid(0)
            folder.chmod(0o700)
            os.seteuid(65534)
            world.quiet()
            assert list(world.source.problems.values()) == ["Permission denied"]
            os.seteuid(0)
            folder.chmod(0o755)
            world.write(b"ial\n")
            os.seteuid(65534)
            assert world.quiet() == [b"partial"]
            assert world.source.problems == {}
        finally:
            os.seteuid(0)


def test_what_is_no_file_is_left_out_and_told_once(world, caplog):
    """A FIFO must not block, a .gz was read before it was packed."""
    os.mkfifo(world.path("fifo.log"))
    world.path("folder.log").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(world.path("socket.log")))
        world.path("agent.log.2.gz").write_bytes(gzip.compress(b"old\n"))
        world.write(b"one\n")
        assert world.quiet() == [b"one"]
    assert len(caplog.records) == 4


def test_2000_files_are_followed_with_few_open(world):
    """Those that move are open, up to a limit; all are looked at every second."""
    for i in range(2000):
        world.write(b"first of %04d\n" % i, f"{i:04}.log")
    assert len(world.poll()) == 2000
    for i in range(0, 2000, 3):
        world.write(b"second of %04d\n" % i, f"{i:04}.log")
    assert len(world.scan()) == 667
    world.commit()
    world.restart()
    assert world.scan() == []
    assert len(world.source._open) <= files.MAX_OPEN
    held = [fd for fd in Path("/proc/self/fd").iterdir() if str(world.folder) in os.path.realpath(fd)]
    assert len(held) <= files.MAX_OPEN


# NUL bytes

HOLE = 40 << 20


@pytest.mark.parametrize("size", [1, 999, 65536, MAX_LINE, 5 * MAX_LINE + 7, HOLE])
@pytest.mark.parametrize("hole", [True, False])
def test_nuls_before_a_line_are_dropped_and_counted_however_many(tmp_path, size, hole):
    """A hole, as a writer without O_APPEND leaves it at a copytruncate, and NULs on disk, as a crash leaves them."""
    if not hole and size == HOLE:
        size = 3 * MAX_LINE
    world = World(tmp_path)
    world.write(b"one\n")
    assert world.scan() == [b"one"]
    with world.path().open("ab") as file:
        file.truncate(4 + size) if hole else file.write(bytes(size))
    assert world.scan() == []
    world.write(b"two\nthree\n")
    for _ in range(3):
        world.scan()
    assert (world.lines, world.too_long, world.nul_bytes) == ([b"one", b"two", b"three"], 0, size)
    world.commit()
    world.restart()
    assert world.scan() == []


def test_each_copytruncate_under_a_writer_without_append_loses_no_line(tmp_path):
    """Its holes begin alike, and are not taken for copies of one another."""
    world = World(tmp_path)
    with world.path().open("wb") as writer:
        for rotation in range(5):
            for number in range(3):
                writer.write(b"rotation %d, line %d\n" % (rotation, number))
                writer.flush()
                world.scan()
            world.copytruncate(f"agent.log.{rotation}")
            world.scan()
        writer.write(b"last\n")
    world.now += 2 * files.QUIET
    world.scan()
    assert world.lines == [b"rotation %d, line %d" % (a, b) for a in range(5) for b in range(3)] + [b"last"]
    assert world.too_long == 0


def test_space_that_a_writer_reserved_is_waited_for(tmp_path):
    """Its NULs are no loss: lines are written over them."""
    world = World(tmp_path)
    world.write(b"one\n" + bytes(200_000))
    assert world.scan() == [b"one"]
    for at, line in ((4, b"two\n"), (8, b"three\n" * 20_000)):
        with world.path().open("r+b") as file:
            file.seek(at)
            file.write(line)
        world.scan()
    assert world.lines == [b"one", b"two", *[b"three"] * 20_000]
    assert world.nul_bytes == 0


def test_a_hole_costs_no_memory(tmp_path):
    """Neither a file that is followed nor one that is read once."""
    path = tmp_path / "agent.log"
    with path.open("wb") as file:
        file.truncate(HOLE)
        file.seek(HOLE)
        file.write(b"one\n")
    (tmp_path / "agent.log.gz").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "agent.log.zst").write_bytes(zstandard.compress(path.read_bytes()))
    tracemalloc.start()
    try:
        assert World(tmp_path, "agent.log").scan() == [b"one"]
        assert once(path)[0] == once(tmp_path / "agent.log.gz")[0] == once(tmp_path / "agent.log.zst")[0] == [b"one"]
        assert [*numbered(str(path)), *numbered(str(tmp_path / "agent.log.gz"))] == [(1, b"one"), (1, b"one")]
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_LINE
    finally:
        tracemalloc.stop()


# Reading once


def once(path):
    source = PastFiles("test", str(path))
    lines = []
    while (batch := source.read()) is not None:
        lines += batch.lines
    assert source.finished
    assert list(source.changes()) == []
    return lines, source


def test_a_file_is_read_once_to_its_end(tmp_path):
    """Its last line needs no newline; several files are read in the order of their names."""
    (tmp_path / "a.log").write_bytes(b"one\ntwo")
    (tmp_path / "b.log").write_bytes(b"three\n")
    lines, source = once(tmp_path / "*.log")
    assert lines == [b"one", b"two", b"three"]
    assert source.progress() == (13, 13)


PACKERS = [("gz", gzip.compress), ("zst", zstandard.ZstdCompressor(write_checksum=True).compress)]


@pytest.mark.parametrize(("kind", "pack"), PACKERS, ids=["gz", "zst"])
def test_a_packed_file_is_read_once_to_its_end(tmp_path, kind, pack):
    """As a stream, of several members too."""
    lines = many(0, 5000)
    path = tmp_path / f"a.log.{kind}"
    path.write_bytes(pack(text(lines[:3000])) + pack(text(lines[3000:])))
    assert once(path)[0] == lines


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:10] + b"\xff" * 1000,
        lambda data: data[:-8] + bytes(8),
        lambda _: b"not packed at all",
    ],
)
@pytest.mark.parametrize(("kind", "pack"), PACKERS, ids=["gz", "zst"])
def test_a_damaged_packed_file_gives_what_can_be_read_and_a_problem(tmp_path, caplog, damage, kind, pack):
    """With one line in the log, and the next file is read."""
    lines = [os.urandom(100).hex().encode() for _ in range(5000)]
    (tmp_path / f"a.{kind}").write_bytes(damage(pack(text(lines))))
    (tmp_path / f"b.{kind}").write_bytes(pack(b"good\n"))
    got, source = once(tmp_path / f"*.{kind}")
    assert got[-1] == b"good"
    assert got[:-2] == lines[: max(0, len(got) - 2)]  # between the two, half a line
    assert len(source.problems) == len(caplog.records) == 1


def test_a_missing_file_is_said_in_a_sentence(tmp_path):
    """At once, not at the first read."""
    with pytest.raises(FileNotFoundError, match="no file matches"):
        PastFiles("test", str(tmp_path / "nothing*"))


def test_a_named_pipe_can_be_read_once(tmp_path):
    """As in `replay <(kubectl logs pod)`."""
    os.mkfifo(tmp_path / "pipe")
    if not (child := os.fork()):
        (tmp_path / "pipe").write_bytes(b"one\ntwo")
        os._exit(0)
    assert once(tmp_path / "pipe")[0] == [b"one", b"two"]
    os.waitpid(child, 0)


# Numbered lines


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    """Blank lines have numbers too, and so has a line that is too long."""
    data = b"\xef\xbb\xbfone\r\n\n" + b"x" * (MAX_LINE + 70_000) + b"\nfour\n\nsix"
    want = [(1, b"one"), (3, None), (4, b"four"), (6, b"six")]
    (tmp_path / "a.log").write_bytes(data)
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(data))
    assert list(numbered(str(tmp_path / "a.log"))) == want
    assert list(numbered(str(tmp_path / "a.log.gz"))) == want


def test_a_record_in_pieces_has_the_number_of_its_first_line(tmp_path):
    """Of each stream; one that is too long has it too, and so has one without an end."""
    long = "x" * 600_000
    pieces = [
        "stdout P a",
        "stderr P A",
        "stdout F b",
        "stderr F B",
        "stdout F c",
        f"stdout P {long}",
        f"stdout P {long}",
    ]
    pieces += ["stdout F end", "stdout P rest"]
    (tmp_path / "a.log").write_text("".join(f"2026-03-18T09:15:32Z {piece}\n" for piece in pieces))
    assert list(numbered(str(tmp_path / "a.log"))) == [(1, b"ab"), (2, b"AB"), (5, b"c"), (6, None), (9, b"rest")]


def test_standard_input_can_be_numbered(tmp_path):
    """By the name "-"."""
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    saved = os.dup(0)
    try:
        with (tmp_path / "a.log").open() as file:
            os.dup2(file.fileno(), 0)
        assert list(numbered("-")) == [(1, b"one"), (2, b"two")]
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_a_damaged_packed_file_cannot_be_numbered_to_its_end(tmp_path):
    """What can be read comes first, then an OSError with a sentence."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n")[:-4])
    records = numbered(str(tmp_path / "a.gz"))
    assert next(records) == (1, b"one")
    with pytest.raises(OSError, match="end-of-stream"):
        list(records)


# All of it at random


class Rotations(RuleBasedStateMachine):
    """A writer, a rotation and a source that is killed and started again, against what is on disk.

    Lines are longer than HEAD, so that a copy made between two reads is known for certain (see Place.in_copy).
    """

    def __init__(self):
        super().__init__()
        logging.disable()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.count = 0
        self.serial = 0
        self.part = b""
        self.commits = [({}, [])]

    def teardown(self):
        self.world.source.close()
        shutil.rmtree(self.folder)
        logging.disable(logging.NOTSET)

    @property
    def live(self):
        return self.world.path().exists()

    def line(self):
        self.count += 1
        return b'{"id": %d, "pad": "%s", "again": %d}' % (self.count, b"x" * 1000, self.count)

    def name(self):
        self.serial += 1
        return f"agent.log.{self.serial}"

    def finish_part(self):
        if self.part:
            self.world.write(self.part)
            self.part = b""

    @rule()
    def write(self):
        self.finish_part()
        self.world.write(self.line() + b"\n")

    @rule(lines=st.integers(2, 150))
    def write_many(self, lines):
        self.finish_part()
        self.world.write(text(self.line() for _ in range(lines)))

    @rule(cut=st.integers(1, 1010))
    def write_a_part(self, cut):
        self.finish_part()
        line = self.line() + b"\n"
        self.world.write(line[:cut])
        self.part = line[cut:]

    @precondition(lambda self: self.live)
    @rule()
    def rename(self):
        self.part = b""
        self.world.path().rename(self.world.path(self.name()))

    @precondition(lambda self: self.live)
    @rule()
    def copytruncate(self):
        self.finish_part()
        self.world.copytruncate(self.name())

    @precondition(lambda self: self.live)
    @rule()
    def copy(self):
        """Of two equal files that are both new none can be told to be the copy: so the original is known."""
        self.finish_part()
        self.world.scan()
        self.commit()
        del self.commits[:-1]
        shutil.copyfile(self.world.path(), self.world.path(self.name()))

    @precondition(lambda self: self.live)
    @rule()
    def truncate(self):
        self.part = b""
        self.world.truncate()

    @rule(data=st.data())
    def delete(self, data):
        name = data.draw(st.sampled_from(sorted(path.name for path in self.folder.iterdir()) or ["none"]))
        if name == "agent.log":
            self.part = b""
        self.world.path(name).unlink(missing_ok=True)

    @rule()
    def poll(self):
        self.world.poll()

    @rule()
    def scan(self):
        self.world.scan()

    @rule()
    def read_one_block(self):
        self.world.now += 0.3
        batch = self.world.source.read()
        self.world.lines += batch.lines if batch else []

    @rule()
    def commit(self):
        self.world.commit()
        self.commits.append((dict(self.world.rows), list(self.world.lines)))

    @rule(back=st.integers(1, 3))
    def restart(self, back):
        del self.commits[max(1, len(self.commits) + 1 - back) :]
        rows, lines = self.commits[-1]
        self.world.rows, self.world.lines = dict(rows), list(lines)
        self.world.restart()

    @rule()
    def check(self):
        """All complete lines on disk were delivered, and none twice."""
        self.world.quiet()
        delivered = Counter(self.world.lines)
        assert not [line[:20] for line, times in delivered.items() if times > 1]
        on_disk = {
            line for path in self.folder.iterdir() for line in path.read_bytes().split(b"\n")[:-1] if _complete(line)
        }
        assert not sorted(line[:20] for line in on_disk - delivered.keys())
        assert self.world.source.unread() == 0


def _complete(line):
    return line.startswith(b"{") and line.endswith(b"}")


Rotations.TestCase.settings = settings(
    max_examples=int(os.environ.get("ROTATION_EXAMPLES", "60")),
    stateful_step_count=30,
    deadline=None,
    derandomize="ROTATION_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestRotations = Rotations.TestCase
