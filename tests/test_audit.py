"""The audit log: a chain that shows where it was changed, and that a crash neither tears nor doubles."""

from __future__ import annotations

import resource

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.breaker.audit import GENESIS, Audit, digest, parse, verify

MOVED = "unless someone moved it away, it was changed; the next line follows that hash"


class Kept:
    """The rows of a state."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def commit(self, audit: Audit, *, written: bool = True) -> None:
        for _, key, value in audit.changes():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        if written:
            audit.committed()


def events_but_torn(path) -> list[str]:
    """Of a log in which one line is not whole."""
    return [entry["event"] for row in path.read_bytes().splitlines() if (entry := parse(row))]


def events(path) -> list[str]:
    return [msgspec.json.decode(row)["event"] for row in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path):
    """Of a log with three lines."""
    kept, audit = Kept(), Audit(tmp_path / "audit.ndjson")
    for n in range(3):
        audit.write(f"e{n}", 1000.0 + n, session_id=f"s{n}")
        kept.commit(audit)
    return tmp_path / "audit.ndjson"


def test_a_log_that_nobody_touched_is_sound(path):
    verdict = verify(path)
    assert (verdict.lines, verdict.faults, verdict.start) == (3, [], GENESIS)
    first = msgspec.json.decode(path.read_bytes().splitlines()[0])
    assert first == {
        "at": "1970-01-01T00:16:40.000Z",
        "event": "e0",
        "session_id": "s0",
        "n": 1,
        "prev": GENESIS,
        "hash": digest(first),
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_changed_line_is_found(path):
    path.write_bytes(path.read_bytes().replace(b'"s1"', b'"s9"'))
    assert verify(path).faults == ["line 2: was changed: its hash is not that of what it says"]


def test_a_changed_line_with_a_new_hash_is_found_by_the_next(path):
    lines = path.read_bytes().splitlines()
    entry = msgspec.json.decode(lines[1]) | {"session_id": "s9"}
    entry["hash"] = digest(entry)
    lines[1] = msgspec.json.encode(entry)
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert verify(path).faults == ["line 3: does not follow the one before it: one was changed, added or taken out"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [((0, 2), "line 2"), ((0, 1, 1, 2), "line 3"), ((1, 0, 2), "line 2")],
    ids=["taken out", "added", "swapped"],
)
def test_a_line_that_is_taken_out_added_or_moved_is_found(path, lines, fault):
    rows = path.read_bytes().splitlines()
    path.write_bytes(b"".join(rows[n] + b"\n" for n in lines))
    assert verify(path).faults[0] == f"{fault}: does not follow the one before it: one was changed, added or taken out"


def test_a_line_of_something_else_is_found(path):
    path.write_bytes(path.read_bytes() + b"hello\n")
    assert verify(path).faults == [
        "line 4: not one of this log's, or torn by a crash after which no exporter has started"
    ]
    path.write_bytes(b"hello\nworld\n" + path.read_bytes())
    assert verify(path).faults[0] == "line 1: not one of this log's"


def test_a_torn_last_line_is_told_of_by_the_next_run_and_is_no_fault_then(path):
    """A crash in the middle of a write."""
    path.write_bytes(path.read_bytes()[:-20])
    assert len(verify(path).faults) == 1
    kept, audit = Kept(), Audit(path)
    audit.write("e3", 2000.0)
    kept.commit(audit)
    assert verify(path).faults == []
    rows = path.read_bytes().splitlines()
    assert [msgspec.json.decode(row)["event"] for row in rows[3:]] == ["torn", "e3"]


def test_a_log_that_was_rotated_away_goes_on_in_the_new_file(path):
    """Whoever verifies is told that there is an older part."""
    kept, audit = Kept(), Audit(path)
    head = audit.head
    path.rename(path.with_suffix(".1"))
    audit.write("e3", 2000.0)
    kept.commit(audit)
    verdict = verify(path)
    assert (verdict.lines, verdict.faults, verdict.start) == (1, [], head)


def test_entries_wait_for_a_file_that_cannot_be_written(tmp_path, caplog):
    """They are in the state meanwhile."""
    path = tmp_path / "folder" / "audit.ndjson"
    kept, audit = Kept(), Audit(path)
    audit.write("e0", 1.0)
    kept.commit(audit)
    assert audit.problem == "No such file or directory"
    assert len(kept.rows) == 1
    path.parent.mkdir()
    audit.write("e1", 2.0)
    kept.commit(audit)
    kept.commit(audit)
    assert events(path) == ["e0", "e1"]
    assert list(kept.rows) == ["head"]
    assert verify(path).faults == []
    assert sum("cannot be opened" in record.message for record in caplog.records) == 1


def test_what_waits_is_bounded_and_the_next_line_says_how_much_went(tmp_path, monkeypatch):
    monkeypatch.setattr("agent_exporter.breaker.audit.MAX_WAITING", 3)
    path = tmp_path / "folder" / "audit.ndjson"
    kept, audit = Kept(), Audit(path)
    for n in range(5):
        audit.write(f"e{n}", 1.0)
    kept.commit(audit)
    path.parent.mkdir()
    kept.commit(audit)
    assert events(path) == ["e2", "e3", "e4"]
    assert msgspec.json.decode(path.read_bytes().splitlines()[0])["dropped"] == 2


def test_a_flood_of_sessions_that_are_left_alone_does_not_fill_the_disk(path):
    """The next line says how many were left out; whoever is stopped is never left out."""
    kept, audit = Kept(), Audit(path)
    for n in range(150):
        audit.write("observed", 2000.0 + n / 10)
    audit.write("called", 2016.0)
    audit.write("observed", 2060.0)
    kept.commit(audit)
    assert events(path)[3:] == ["observed"] * 100 + ["called", "observed"]
    assert msgspec.json.decode(path.read_bytes().splitlines()[3])["dropped"] == 50
    assert verify(path).faults == []


def test_a_disk_that_fills_in_the_middle_of_a_line_neither_breaks_the_chain_nor_doubles_an_entry(path):
    """Four entries at once, of which there is room for one and a half."""
    kept, audit = Kept(), Audit(path)
    for n in range(3, 7):
        audit.write(f"e{n}", 2000.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 320, limits[1]))
    try:
        kept.commit(audit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert audit.problem == "File too large"
    assert len(path.read_bytes().splitlines()) == 5
    again = Audit(path.rename(path.with_name("after-a-restart")))
    again.restore(kept.rows.items())
    path.write_bytes(again.path.read_bytes()[:-1])  # as it was left: starting has closed the line
    for log_of in (audit, again):
        for _ in range(2):
            kept.commit(log_of)
        assert events_but_torn(log_of.path) == ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "torn"]
        assert verify(log_of.path).faults == []


def test_a_log_that_is_gone_or_cut_when_the_exporter_starts_shows_it(path, caplog):
    """Without the last hash in the state, a new chain would begin, and pass for sound."""
    kept, audit = Kept(), Audit(path)
    audit.write("e3", 2000.0)
    kept.commit(audit)
    kept.commit(audit)
    lines = path.read_bytes().splitlines(keepends=True)
    for left, faults, start in (
        (lines[:2], ["line 3: does not follow the one before it: one was changed, added or taken out"], GENESIS),
        ([], [], audit.head),
    ):
        caplog.clear()
        path.write_bytes(b"".join(left))
        again = Audit(path)
        again.restore(kept.rows.items())
        again.write("e4", 3000.0)
        Kept().commit(again)
        verdict = verify(path)
        assert (verdict.faults, verdict.start) == (faults, start)
        assert caplog.messages == [
            f"the audit log {path} does not end with what was written last, hash {audit.head}: {MOVED}"
        ]


@given(st.lists(st.sampled_from(["write", "commit", "crash before the file", "crash"]), max_size=30))
def test_no_crash_forgets_an_entry_that_was_committed_or_writes_it_twice(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("audit") / "audit.ndjson"
    kept, audit = Kept(), Audit(path)
    wanted: list[str] = []
    uncommitted: list[str] = []
    for n, step in enumerate([*steps, "commit"]):
        if step == "write":
            audit.write(f"e{n}", 1.0)
            uncommitted.append(f"e{n}")
            continue
        if step != "crash":
            kept.commit(audit, written=step == "commit")
            wanted += uncommitted
        uncommitted = []
        if step.startswith("crash"):
            audit = Audit(path)
            audit.restore(kept.rows.items())
    assert events(path) == wanted
    assert verify(path).faults == []
