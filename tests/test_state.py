"""The state file: all or nothing, one owner, and a way out of damage."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter import state
from agent_exporter.state import FORMAT, Locked, MemoryStore, SQLiteStore, Unavailable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "state.db"


def test_rows_are_found_again_and_deleted_rows_are_not(path):
    """Across closing and opening."""
    store = SQLiteStore(path)
    store.commit([("a", "1", b"x"), ("a", "2", b"y"), ("b", "1", b"z")])
    store.commit([("a", "1", None), ("a", "2", b"new")])
    store.close()
    store = SQLiteStore(path)
    assert (list(store.rows("a")), list(store.rows("b"))) == ([("2", b"new")], [("1", b"z")])
    assert (store.get("b", "1"), store.get("b", "2")) == (b"z", None)
    store.close()


def test_the_mirror_is_what_is_on_disk(path):
    """Scrapes are made from it: no row of a failed commit is in it."""
    store = SQLiteStore(path, ["a"])
    store.commit([("a", "1", b"x"), ("b", "1", b"y")])
    assert store.committed == {"a": {"1": b"x"}}
    store._database.execute("PRAGMA query_only = ON")
    with pytest.raises(Unavailable):
        store.commit([("a", "1", b"lost?"), ("a", "2", b"new")])
    assert store.committed == {"a": {"1": b"x"}}
    store._database.execute("PRAGMA query_only = OFF")
    store.commit([("a", "2", b"newer")])
    assert store.committed == {"a": {"1": b"lost?", "2": b"newer"}}
    store.close()
    assert dict(SQLiteStore(path).rows("a")) == {"1": b"lost?", "2": b"newer"}


def test_a_second_owner_is_refused_with_a_sentence(path):
    """Two writers would each take back what the other counted."""
    store = SQLiteStore(path)
    with pytest.raises(Locked, match=rf"state\.db is in use by another agent-exporter \(process {os.getpid()}\)"):
        SQLiteStore(path)
    store.close()
    SQLiteStore(path).close()


def test_the_lock_ends_with_its_process(path):
    """However that ended."""
    code = f"from pathlib import Path; from agent_exporter.state import SQLiteStore; SQLiteStore(Path({str(path)!r})); import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    SQLiteStore(path).close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"not a database, but long enough to be looked at" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + os.urandom(4096) + path.read_bytes()[8192:]),
        lambda path: sqlite3.connect(path, isolation_level=None).executescript("DROP TABLE row; CREATE TABLE row (x)"),
    ],
    ids=["text", "cut", "overwritten", "another table"],
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path, damage, caplog):
    """And a line says so. What was there is kept for whoever wants to look."""
    store = SQLiteStore(path)
    store.commit([("a", str(number), b"x" * 500) for number in range(100)])
    store.close()
    damage(path)
    store = SQLiteStore(path)
    assert list(store.rows("a")) == []
    store.commit([("a", "1", b"new")])
    assert store.set_aside.exists()
    assert ".damaged-" in store.set_aside.name
    assert "set aside as" in caplog.text
    store.close()


def test_an_empty_file_is_begun_anew(path):
    """SQLite's own view of an empty file."""
    path.parent.mkdir()
    path.touch()
    store = SQLiteStore(path)
    store.commit([("a", "1", b"x")])
    assert store.set_aside is None


def test_a_file_of_a_newer_version_is_set_aside(path, caplog):
    """Going back a version must not destroy what the newer one wrote."""
    SQLiteStore(path).close()
    sqlite3.connect(path, isolation_level=None).execute(f"PRAGMA user_version = {FORMAT + 1}")
    store = SQLiteStore(path)
    assert ".newer-" in store.set_aside.name
    assert "newer" in caplog.text


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path):
    """Not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="file/state.db: Not a directory"):
        SQLiteStore(tmp_path / "file" / "state.db")


def test_a_full_disk_loses_nothing(path):
    """The rows wait and go with the next commit that succeeds."""
    store = SQLiteStore(path, ["a"])
    store._database.execute("PRAGMA max_page_count = 10")
    with pytest.raises(Unavailable, match="full"):
        store.commit([("a", str(number), os.urandom(4000)) for number in range(50)])
    with pytest.raises(Unavailable, match="full"):
        store.commit([("a", "extra", b"x")])
    store._database.execute("PRAGMA max_page_count = 1000000")
    store.commit([])
    assert len(store.committed["a"]) == 51


rows = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz\0"), st.none() | st.binary(max_size=5)), max_size=20
)


@given(st.lists(rows, max_size=5))
def test_a_file_and_memory_hold_the_same(tmp_path_factory, commits):
    """Any sequence of commits."""
    file = SQLiteStore(tmp_path_factory.mktemp("state") / "s.db", "ab")
    memory = MemoryStore("ab")
    for commit in commits:
        file.commit(commit)
        memory.commit(commit)
    assert file.committed == memory.committed
    assert {kind: dict(file.rows(kind)) for kind in "ab"} == memory.committed
    file.close()


def _commit_for_ever(path, start):
    store = SQLiteStore(path)
    [(_, value)] = list(store.rows("count")) or [("", b"0")]
    number = int(value)
    start.set()
    while True:
        number += 1
        store.commit([("count", "n", b"%d" % number), ("sum", str(number % 7), b"%d" % number)])


def test_a_kill_at_any_moment_leaves_one_whole_commit(path):
    """Both rows of the last commit, or of the one before."""
    context = multiprocessing.get_context("spawn")
    before = 0
    for round_ in range(8):
        start = context.Event()
        process = context.Process(target=_commit_for_ever, args=(path, start))
        process.start()
        assert start.wait(30)
        process.join(0.003 * (round_ + 1))
        process.kill()
        process.join()
        store = SQLiteStore(path)
        number = int(dict(store.rows("count")).get("n", b"0"))
        sums = [int(value) for _, value in store.rows("sum")]
        assert max(sums, default=0) == number >= before
        before = number
        store.close()


def test_the_file_is_its_owners_alone(path):
    """It holds the first bytes of logs, and those may be private."""
    store = SQLiteStore(path)
    store.commit([("a", "1", b"x")])
    assert {found.stat().st_mode & 0o077 for found in path.parent.iterdir()} == {0}
    store.close()


# --- older formats ---------------------------------------------------------------------------------------------------


def older(path, version=FORMAT - 1):
    """A state file of an older format, with two rows."""
    store = SQLiteStore(path)
    store.commit([("a", "1", b"x"), ("a", "2", b"y")])
    store.close()
    sqlite3.connect(path, isolation_level=None).execute(f"PRAGMA user_version = {version}")


def doubled(database):
    """A made-up migration: each value twice."""
    for kind, key, value in database.execute("SELECT kind, key, value FROM row").fetchall():
        database.execute("UPDATE row SET value = ? WHERE kind = ? AND key = ?", (value * 2, kind, key))


def contents(path):
    """The format of a file, and its rows."""
    database = sqlite3.connect(path)
    try:
        [(version,)] = database.execute("PRAGMA user_version")
        return version, database.execute("SELECT key, value FROM row ORDER BY key").fetchall()
    finally:
        database.close()


def test_a_file_of_an_older_format_is_migrated_step_by_step(path, monkeypatch):
    """Once: the next start finds the present format."""
    monkeypatch.setattr(state, "FORMAT", FORMAT + 1)
    monkeypatch.setattr(state, "MIGRATIONS", {FORMAT - 1: doubled, FORMAT: doubled})
    older(path)
    for _ in range(2):
        store = SQLiteStore(path)
        assert (store.set_aside, dict(store.rows("a"))) == (None, {"1": b"xxxx", "2": b"yyyy"})
        store.close()
    assert contents(path) == (FORMAT + 1, [("1", b"xxxx"), ("2", b"yyyy")])


def test_a_migration_that_fails_leaves_the_old_file_whole(path, monkeypatch, caplog):
    """It is set aside as it was, and a new one begins."""

    def fails(database):
        doubled(database)
        raise KeyError("no such field")

    monkeypatch.setattr(state, "MIGRATIONS", {FORMAT - 1: fails})
    older(path)
    store = SQLiteStore(path)
    assert list(store.rows("a")) == []
    store.close()
    assert ".older-" in store.set_aside.name
    assert contents(store.set_aside) == (FORMAT - 1, [("1", b"x"), ("2", b"y")])
    assert f"format {FORMAT - 1}, and its migration to {FORMAT} failed: KeyError('no such field')" in caplog.text


def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_file_whole(path):
    """The next start migrates it."""
    older(path)
    code = (
        "import os; from pathlib import Path; from agent_exporter import state\n"
        "def killed(database):\n"
        "    database.execute(\"UPDATE row SET value = 'half'\")\n"
        "    os.kill(os.getpid(), 9)\n"
        f"state.MIGRATIONS[{FORMAT - 1}] = killed\n"
        f"state.SQLiteStore(Path({str(path)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert contents(path) == (FORMAT - 1, [("1", b"x"), ("2", b"y")])


def test_a_format_that_no_migration_begins_at_is_set_aside(path, caplog):
    """With a sentence that says so."""
    older(path)
    store = SQLiteStore(path)
    assert ".older-" in store.set_aside.name
    assert f"format {FORMAT - 1}, this version knows {FORMAT} and cannot migrate it" in caplog.text
    store.close()


def test_a_look_at_an_older_format_says_what_to_do(path):
    """It does not migrate: the file may be another process's."""
    older(path)
    with pytest.raises(Unavailable, match=f"format {FORMAT - 1}, this version knows {FORMAT}: a start of this version"):
        state.peek(path, "a")
