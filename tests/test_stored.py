"""What is stored: structs that only grow, rows of every kind that may be damaged, and state files of former versions."""

from __future__ import annotations

import shutil
import sqlite3
from functools import cache
from itertools import cycle

import msgspec
import pytest
from conftest import HERE
from detecting import START, line
from hypothesis import given, settings
from hypothesis import strategies as st
from remembering import ENDS, ONE, PARTS, Remembering, delivered, docker, dump, laid_out, work

from agent_exporter import __version__, state
from agent_exporter.benchmark import history
from agent_exporter.breaker import audit, intent, latch
from agent_exporter.detectors import action_anomaly, journal, steps
from agent_exporter.formats import chosen, containers
from agent_exporter.formats.mapping import memory
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.row_kinds import ROW_KINDS
from agent_exporter.sessions import Session
from agent_exporter.sources import place
from agent_exporter.spans import queue, trace_buffer, tree
from agent_exporter.state import row_key

GOLDEN = HERE / "golden" / "state"
RELEASES = sorted(path.stem for path in GOLDEN.glob("*.sql"))


# --- structs that only grow ------------------------------------------------------------------------------------------

ROOTS = (
    *dict.fromkeys(CELL_TYPES.values()),
    Session,
    steps.Trace,
    action_anomaly.Window,
    journal.Entry,
    tree.Invocation,
    queue.Spooled,
    trace_buffer.Held,
    intent.Intent,
    latch.Latched,
    audit.Head,
    history.Kept,
    place.Place,
    containers.Dumped,
    chosen.Tagged,
    memory.Remembered,
)
"""What rows trace_buffer. Only `duplicates`, numbers of 8 bytes, and entries of the audit log, which are JSON, hold something else."""


def described(found) -> str:
    """A type, in words that stay the same whatever Python says of it."""
    match found:
        case msgspec.inspect.StructType(cls=cls):
            return cls.__name__
        case msgspec.inspect.ListType(item_type=item):
            return f"list[{described(item)}]"
        case msgspec.inspect.TupleType(item_types=items):
            return f"tuple[{', '.join(map(described, items))}]"
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return f"dict[{described(key)}, {described(value)}]"
        case msgspec.inspect.UnionType(types=types):
            return " | ".join(map(described, types))
        case msgspec.inspect.LiteralType(values=values):
            return f"one of {' '.join(map(str, values))}"
    return type(found).__name__.removesuffix("Type").lower()


def structs() -> dict[str, list[str]]:
    """Name of each struct that is stored to its fields in the order of the row: name, type and whether it may be absent."""
    found: dict[str, list[str]] = {}

    def look(info) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls.__name__ in found:
                return
            rows = found[info.cls.__name__] = ["(array)" if info.array_like else "(map)"]
            for field in info.fields:
                default = "" if field.required else " = ..."
                if (
                    field.default_factory is not msgspec.NODEFAULT
                    and isinstance(made := field.default_factory(), list)
                    and made
                ):
                    default = f" = {len(made)} of them"
                rows.append(f"{field.encode_name}: {described(field.type)}{default}")
                look(field.type)
        for name in ("item_type", "key_type", "value_type"):
            if hasattr(info, name):
                look(getattr(info, name))
        for name in ("item_types", "types"):
            for inner in getattr(info, name, ()):
                look(inner)

    for root in ROOTS:
        look(msgspec.inspect.type_info(root))
    return found


def written(table: dict[str, list[str]]) -> str:
    """The table as a file, a struct a paragraph."""
    return "\n".join(
        f"{name} {kind}\n" + "".join(f"    {row}\n" for row in rows) for name, (kind, *rows) in sorted(table.items())
    )


def unlike(before: str, after: dict[str, list[str]]) -> list[str]:
    """What keeps rows that were written with the structs of `before` from being read with those of `after`."""
    faults = []
    for paragraph in before.strip().split("\n\n") if before.strip() else ():
        head, *old = (row.strip() for row in paragraph.splitlines())
        name, kind = head.split()
        now_kind, *now = after.get(name, ["(gone)"])
        if kind != now_kind:
            faults.append(f"{name} was stored as {kind} and is {now_kind}")
            continue
        if kind == "(map)":  # known by name: any order will do
            by_name = {row.split(":")[0]: row for row in now}
            first = [by_name.pop(row.split(":")[0], "gone") for row in old]
            now = [*first, *by_name.values()]
        for number, row in enumerate(old):
            if now[number : number + 1] != [row]:
                faults.append(f"{name}: field {number} was `{row}`, and is `{(now[number:] or ['gone'])[0]}`")
        faults += [f"{name}: the new field `{row}` has no default" for row in now[len(old) :] if " = " not in row]
    return faults


ADVICE = """
Rows that are on disk could not be read any more. A stored struct only grows: put new fields at its end, with a default,
and change no type (CONTRIBUTING.md, "Changing what is stored"). If the old rows are really no longer wanted as they are,
raise FORMAT in state.py, write a migration, and take this struct out of tests/golden/state/structs.txt by hand."""


def test_stored_structs_only_grow_at_their_ends(request):
    """Each has the fields that rows on disk have, in that order. --update adds what is new, and changes nothing else."""
    path = GOLDEN / "structs.txt"
    faults = unlike(path.read_text(), structs())
    assert not faults, "\n".join(faults) + ADVICE
    if request.config.getoption("--update"):
        path.write_text(written(structs()))
    assert path.read_text() == written(structs()), "new fields: run pytest with --update, and commit the difference"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (["a: str", "n: int", "b: int = ..."], []),
        (
            ["n: int", "a: str"],
            ["S: field 0 was `a: str`, and is `n: int`", "S: field 1 was `n: int`, and is `a: str`"],
        ),
        (["a: str"], ["S: field 1 was `n: int`, and is `gone`"]),
        (["a: str", "n: float"], ["S: field 1 was `n: int`, and is `n: float`"]),
        (["a: str", "n: int", "b: int"], ["S: the new field `b: int` has no default"]),
    ],
)
def test_a_struct_that_does_more_than_grow_is_found(change, fault):
    """Each way to break old rows."""
    assert unlike("S (array)\n    a: str\n    n: int\n", {"S": ["(array)", *change]}) == fault


def test_a_map_may_grow_anywhere():
    """Its fields are known by name."""
    before = "S (map)\n    a: str\n    n: int\n"
    assert unlike(before, {"S": ["(map)", "b: int = ...", "n: int", "a: str"]}) == []
    assert unlike(before, {"S": ["(map)", "a: str"]}) == ["S: field 1 was `n: int`, and is `gone`"]


# --- state files of former versions ----------------------------------------------------------------------------------


@cache
def this_release(folder) -> str:
    """The state file of this version, as SQL; the logs that it has read stay in the folder."""
    folder.mkdir()
    work(folder)
    return dump(folder)


def test_the_state_file_of_this_version_is_kept(request, tmp_path):
    """Made anew with --update as long as the version is not released; those of other versions are never written again."""
    path = GOLDEN / f"{__version__}.sql"
    sql = this_release(tmp_path / "made")
    if request.config.getoption("--update"):
        path.write_text(sql)
        logs = GOLDEN / __version__
        logs.mkdir(exist_ok=True)
        for log in (tmp_path / "made").glob("*.log"):
            shutil.copy(log, logs)
    assert path.read_text() == sql, f"what version {__version__} stores has changed: is it released? CONTRIBUTING.md"
    assert {row.split("'")[1] for row in sql.splitlines()[2:]} == set(ROW_KINDS), (
        "a kind of row that no state file shows"
    )


def going_on(folder) -> Remembering:
    """An exporter that has taken up what a folder has."""
    exporter = Remembering(folder, START + 70)
    exporter.pipeline.commit()
    return exporter


@pytest.mark.parametrize("version", RELEASES)
def test_the_state_file_of_each_release_is_taken_up(version, tmp_path, golden, caplog):
    """Without one unreadable row; then it goes on from there, in the middle of three records."""
    laid_out((GOLDEN / f"{version}.sql").read_text(), GOLDEN / version, tmp_path)
    exporter = going_on(tmp_path)
    assert set(exporter.store.unreadable.values()) == {0}
    assert "cannot be read" not in caplog.text
    golden(f"state/{version}.prom", exporter.page())
    with (tmp_path / "docker.log").open("ab") as log:
        log.write(b'{"log": "}\\n", "stream": "stderr"}\n')
        log.write(docker(line(71, agent_id="runaway", session_id="r1", metadata=ENDS)))
        log.write(docker(line(71, agent_id="waiting", session_id="w", metadata=ENDS)))
    with (tmp_path / "cri.log").open("ab") as log:
        log.write(b"2026-03-18T09:01:02Z stderr F " + line(61, agent_id="cri", session_id="c")[30:] + b"\n")
    exporter.otlp.deliver([delivered(ONE)])  # again
    exporter.otlp.deliver([delivered(PARTS[1], "pieces", b"2")])
    exporter.read(START + 72)
    exporter.read(START + 140)
    golden(f"state/{version}-later.prom", exporter.page())
    exporter.store.close()


# --- rows that are damaged -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(SQL of the state file, the folder of its logs)."""
    folder = tmp_path_factory.mktemp("remembered") / "made"
    return this_release(folder), folder


def damaged(made, folder, kind, damages) -> int:
    """The folder with a state file in which the rows of a kind are damaged, each in another way; how many there are."""
    laid_out(*made, folder)
    database = sqlite3.connect(folder / "state.db", isolation_level=None)
    rows = database.execute("SELECT rowid FROM row WHERE kind = ?", (kind,)).fetchall()
    for (number,), damage in zip(rows, cycle(damages), strict=False):
        database.execute("UPDATE row SET value = ? WHERE rowid = ?", (damage, number))
    database.close()
    return len(rows)


def starts_and_goes_on(folder, agent: str = "fresh") -> tuple[Remembering, str]:
    """An exporter on that, which has read one more line and is closed, and its page."""
    exporter = going_on(folder)
    with (folder / "docker.log").open("ab") as log:
        log.write(docker(line(71, agent_id=agent, session_id="f", tokens={"prompt": 5, "completion": 0, "model": "m"})))
    exporter.read(START + 72)
    page = exporter.page()
    assert f'agent_tokens_total{{agent_id="{agent}",model="m",token_type="prompt"}} 5.0' in page
    exporter.store.close()
    return exporter, page


DAMAGES = (b"\xc1", b"\x90", b"\x05", b"{", "text", 7, 0.5)
"""What no row is: no MessagePack, an empty array, a number, no JSON, and what SQLite holds beside bytes."""


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_rows_that_cannot_be_read_are_set_aside_and_counted(kind, made, tmp_path, caplog):
    """Of any kind: the start succeeds, the others are taken up, one line says so, and the next start is clean."""
    rows = damaged(made, tmp_path, kind, DAMAGES)
    exporter, page = starts_and_goes_on(tmp_path)
    assert {name: count for name, count in exporter.store.unreadable.items() if count} == {kind: rows}
    assert caplog.text.count(f"{rows} row(s) of the kind {kind!r} cannot be read") == 1
    assert ROW_KINDS[kind].lost in caplog.text
    assert f'agent_exporter_state_rows_unreadable_total{{kind="{kind}"}} {float(rows)}' in page
    caplog.clear()
    database = sqlite3.connect(tmp_path / "state.db")
    aside = database.execute("SELECT key, value FROM row WHERE kind = 'unreadable'").fetchall()
    database.close()
    assert len(aside) == rows
    assert {key.startswith(row_key(kind)) for key, _ in aside} == {True}
    assert {value for _, value in aside} <= set(DAMAGES)
    again, _ = starts_and_goes_on(tmp_path, "fresher")
    assert set(again.store.unreadable.values()) == {0}
    assert "cannot be read" not in caplog.text


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_no_reader_takes_a_row_that_is_cut_or_something_else(kind, made):
    """Each row of this version, cut anywhere, and each of DAMAGES."""
    for row in made[0].splitlines()[2:]:
        _, name, _, key, rest = row.split("'", 4)
        if name != kind:
            continue
        value = bytes.fromhex(rest.rsplit("X'", 1)[1][:-3])
        read = ROW_KINDS[kind].read
        read(key, value)
        cuts = [value[:length] for length in range(1, len(value)) if kind != "duplicates" or length % 8]
        for damage in (*DAMAGES, *cuts):
            with pytest.raises(Exception):  # noqa: B017, PT011  (whatever it is, the row is set aside)
                read(key, damage)


def test_an_unreadable_latch_latches(made, tmp_path):
    """Nobody knows whether the breaker had stopped itself: it stops nobody until an operator has looked."""
    damaged(made, tmp_path, "latch", DAMAGES)
    exporter, _ = starts_and_goes_on(tmp_path)
    assert exporter.stages.breaker.latches.overall.why == "its row in the state file could not be read"
    again, _ = starts_and_goes_on(tmp_path, "fresher")
    assert again.stages.breaker.latches.overall.since == START + 70


def test_what_an_unreadable_agent_had_begins_at_zero_together(made, tmp_path):
    """No series of an agent stays behind that no one would ever drop."""
    damaged(made, tmp_path, "agent", DAMAGES)
    _, page = starts_and_goes_on(tmp_path)
    assert 'agent_id="planner"' not in page


def test_rows_that_are_set_aside_are_bounded(made, tmp_path, monkeypatch):
    """Beyond the bound they are dropped, and counted."""
    monkeypatch.setattr(state, "MAX_UNREADABLE", 3)
    rows = damaged(made, tmp_path, "action", DAMAGES)
    _, page = starts_and_goes_on(tmp_path)
    assert f'agent_exporter_table_evictions_total{{table="unreadable"}} {float(rows - 3)}' in page
    database = sqlite3.connect(tmp_path / "state.db")
    assert database.execute("SELECT count(*) FROM row WHERE kind = 'unreadable'").fetchone() == (3,)
    database.close()


def test_rows_stay_where_they_are_until_the_first_commit(made, tmp_path):
    """The move and its count are one transaction: a kill before it changes nothing."""
    rows = damaged(made, tmp_path, "session", DAMAGES)
    Remembering(tmp_path, START + 70).store.close()
    _, page = starts_and_goes_on(tmp_path)
    assert f'agent_exporter_state_rows_unreadable_total{{kind="session"}} {float(rows)}' in page


@settings(max_examples=25)
@given(data=st.data())
def test_any_damage_lets_the_exporter_start(made, data, tmp_path_factory):
    """Bytes of any rows changed, cut or put in: it starts, counts a new line, and shows a page."""
    folder = tmp_path_factory.mktemp("damaged")
    laid_out(*made, folder)
    database = sqlite3.connect(folder / "state.db", isolation_level=None)
    rows = database.execute("SELECT rowid, value FROM row ORDER BY rowid").fetchall()
    for number, value in data.draw(st.lists(st.sampled_from(rows), min_size=1, max_size=20)):
        at = data.draw(st.integers(0, max(0, len(value) - 1)))
        other = value[:at] + data.draw(st.binary(max_size=3)) + value[at + data.draw(st.integers(0, 3)) :]
        database.execute("UPDATE row SET value = ? WHERE rowid = ?", (other, number))
    database.close()
    starts_and_goes_on(folder)
