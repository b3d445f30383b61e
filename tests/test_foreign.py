"""Logs of other programs, as they are: totals equal theirs, in any order of files and over any restart."""

import gzip
import itertools
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import line
from foreign import Claude, Codex, Pi, actions, api, call, outcomes, shop, text, tokens, tool, words, written
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.formats.chosen import LOOKED_AT, Choice
from agent_exporter.formats.mapping import files
from agent_exporter.formats.mapping.memory import Memory
from agent_exporter.lines import MAX_LINE
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.records import read
from agent_exporter.replay import in_steps, past, replay
from agent_exporter.sources.files import FileSource
from agent_exporter.stages import Stages
from agent_exporter.state import MemoryStore

# --- Claude Code -------------------------------------------------------------------------------------------------


def test_a_session_of_claude_code_with_a_sub_agent():
    main, sub = shop()
    found = actions(main.rows, sub.rows)
    assert outcomes(found) == {
        ("claude-code", "llm_call", "success", None): 3,
        ("claude-code", "llm_call", "error", "rate_limit"): 1,
        ("claude-code", "Bash", "error", "Exit code 2"): 1,
        ("claude-code", "Agent", "success", None): 1,
        ("claude-code/Explore", "llm_call", "success", None): 2,
        ("claude-code/Explore", "Grep", "success", None): 1,
    }
    assert tokens(found) == [main.totals[0] + sub.totals[0], main.totals[1] + sub.totals[1]]
    assert {action.parent_trace_id for action in found} == {main.session}
    assert {(action.agent_id, action.session_id, action.metadata.parent_agent_id) for action in found} == {
        ("claude-code", main.session, None),
        ("claude-code/Explore", "a1b2", "claude-code"),
    }
    [delegated] = [action for action in found if action.action == "Agent"]
    assert (delegated.duration_ms, json.loads(delegated.contents()[0])) == (4200, {"prompt": "Look for the rounding"})


def test_the_end_of_a_turn_waits_for_a_person_or_ends_the_session():
    """With `claude -p` and in sub-agents nobody goes on."""
    ends = {}
    for entrypoint in ("cli", "sdk-cli"):
        for action in actions(*(each.rows for each in shop(entrypoint))):
            if action.metadata.session_paused or action.metadata.session_end:
                ends[entrypoint, action.agent_id] = action.metadata.session_paused, action.metadata.session_end
    assert ends == {
        ("cli", "claude-code"): (True, None),
        ("cli", "claude-code/Explore"): (None, True),
        ("sdk-cli", "claude-code"): (None, True),
        ("sdk-cli", "claude-code/Explore"): (None, True),
    }


def test_usage_that_grows_from_block_to_block_counts_as_its_last():
    main = Claude()
    main.answer(words(), words(), tool(), early=1, out=400)
    assert tokens(actions(main.rows)) == main.totals


@pytest.mark.parametrize(
    ("given_", "type_"),
    [
        ({"error": "rate_limit", "apiErrorStatus": 429}, "rate_limit"),
        ({"error": "unknown", "apiErrorStatus": 400}, "http_400"),
        ({"apiErrorStatus": 529}, "http_529"),
        ({"error": "unknown"}, "api_error"),
    ],
)
def test_a_call_of_the_model_that_fails_for_good_has_a_type_and_ends_the_run(given_, type_):
    """With `claude -p`; a person may ask again."""
    for entrypoint, ends in (("sdk-cli", True), ("cli", None)):
        main = Claude(entrypoint=entrypoint)
        said = {"id": "0000", "role": "assistant", "model": "<synthetic>", "content": [words("API Error: no")]}
        main.line("assistant", isApiErrorMessage=True, message=said, **given_)
        [action] = actions(main.rows)
        assert (action.status, action.error_type, action.error_message) == ("error", type_, "API Error: no")
        assert (action.tokens, action.metadata.session_end) == (None, ends)


def test_sub_agents_of_older_versions_stand_in_the_file_of_their_session():
    """Without an id of their own; and a result in the main session has the sub-agent's id, which is not its session."""
    main = Claude()
    [call] = main.answer(tool("Task", prompt="Look"))
    [found] = main.answer(tool("Grep"))
    main.rows[-1]["isSidechain"] = True
    main.result(found, isSidechain=True)
    main.result(call, agentId="e1c8")
    assert [(a.agent_id, a.session_id, a.action) for a in actions(main.rows)] == [
        ("claude-code", main.session, "llm_call"),
        ("claude-code/subagent", main.session, "llm_call"),
        ("claude-code/subagent", main.session, "Grep"),
        ("claude-code", main.session, "Task"),
    ]


def test_the_journal_of_a_workflow_counts_nothing():
    """It stands among the transcripts."""
    batch = Choice().new().feed(text([{"type": "started", "key": "v2:ab", "agentId": "a1"}]).splitlines())
    assert (batch.lines, dict(batch.skipped)) == ([], {"claude-code/started": 1})


def test_what_a_person_refuses_is_cancelled():
    main = Claude()
    [call] = main.answer(tool())
    main.result(call, "The user doesn't want to proceed with this tool use. It was rejected.", error=True)
    assert [action.status for action in actions(main.rows)] == ["success", "cancelled"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_resumed_and_forked_sessions_of_claude_code_count_once_in_any_order(order):
    """A resumed one goes on in its file; a fork, and a fork of it, begin with a copy."""
    main, sub = shop()
    main.ask("More")
    main.answer(words("Yes."))
    fork = main.fork(2)
    fork.answer(words("Otherwise."), out=70)
    again = fork.fork(3)
    again.answer(words("Or so."), out=80)
    files = [main, sub, fork, again]
    found = actions(*(files[number].rows for number in order))
    assert tokens(found) == [sum(file.totals[part] for file in files) for part in (0, 1)]
    assert sum(outcomes(found).values()) == 12


@pytest.mark.parametrize("reverse", [False, True])
def test_a_fork_of_a_run_has_its_own_part_alone(reverse):
    """Its history is of the session that it was forked from, whichever file is read first."""
    main, sub = shop("sdk-cli")
    fork = main.fork_of_a_run(2)
    fork.answer(words("Otherwise."), out=70)
    files = [main, sub, fork][:: -1 if reverse else 1]
    found = actions(*(file.rows for file in files))
    for file in (main, fork):
        assert tokens([action for action in found if action.session_id == file.session]) == file.totals
    assert outcomes(found)["claude-code", "llm_call", "success", None] == 4


# --- Codex -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_a_thread_of_codex_and_its_fork_count_once_in_any_order(old, reverse):
    """Of both generations, though totals are repeated, and copied into forks before 0.163."""
    files = api(old=old)[:: -1 if reverse else 1]
    found = actions(*(file.rows for file in files))
    assert tokens(found) == [sum(file.totals[part] for file in files) for part in (0, 1)]
    kinds = Counter((action.action, action.status) for action in found)
    assert kinds == {
        ("llm_call", "success"): 4,
        ("exec_command", "error"): 1,
        ("exec_command", "success"): 1,
        ("turn_end", "success"): 3,
    }
    assert {action.tokens.model for action in found if action.tokens} == {"gpt-5.1-codex"}
    failed = next(action for action in found if action.status == "error")
    assert (failed.error_type, failed.error_message, failed.duration_ms) == ("Exit code 3", "as it is\n", 1500)


def test_a_sub_agent_of_codex_has_its_nickname_and_its_parent():
    first = Codex(source="exec")
    first.end(first.turn())
    sub = Codex(
        2,
        clock=first.clock,
        session_id=first.thread,
        parent_thread_id=first.thread,
        agent_nickname="Ada",
        source={"subagent": {}},
    )
    turn = sub.turn()
    sub.answer()
    sub.end(turn)
    found = actions(first.rows, sub.rows)
    assert [(a.agent_id, a.action, a.metadata.parent_agent_id, a.metadata.session_end) for a in found] == [
        ("codex", "turn_end", None, True),
        ("codex/Ada", "llm_call", "codex", None),
        ("codex/Ada", "turn_end", "codex", True),
    ]
    assert {a.parent_trace_id for a in found} == {first.thread}
    assert tokens(found) == sub.totals


def test_totals_alone_count_by_what_they_grew():
    """Of versions that do not tell what the last call took."""
    rollout = Codex(old=True)
    rollout.turn()
    for given_ in (9000, 9500):
        rollout.answer(given_)
    for row in rollout.rows:
        if row["payload"].get("info"):
            del row["payload"]["info"]["last_token_usage"]
    assert tokens(actions(rollout.rows)) == rollout.totals


# --- which format it is ------------------------------------------------------------------------------------------

OURS = [line(action="search"), line(action="llm_call", tokens={"prompt": 5, "completion": 1})]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (text(shop()[0].rows), "claude-code"),
        (text(shop()[1].rows), "claude-code"),
        (text(api()[0].rows), "codex"),
        (text(api(old=True)[1].rows), "codex"),
        (b"\n".join(OURS), ""),
        (b"a banner\n" + text(shop()[0].rows), "claude-code"),
        (b"\n".join([*OURS, text(shop()[0].rows)]), ""),
        (b'{"level":30,"msg":"hi"}\n' * LOOKED_AT + text(shop()[0].rows), ""),
        (b'{"type":"user","message":{"role":"user","content":"hi"}}\n', ""),
        (b'{"type":"session_meta","payload":{}}\n', ""),
        (b"", ""),
    ],
    ids=[
        "claude",
        "sub-agent",
        "codex",
        "codex-fork",
        "ours",
        "banner",
        "ours-first",
        "too-late",
        "no-claude",
        "no-codex",
        "empty",
    ],
)
def test_the_first_lines_show_the_format(rows, name):
    """Line by line or at once, wrapped by docker or not."""
    wrapped = [json.dumps({"log": f"{row.decode()}\n", "stream": "stdout"}).encode() for row in rows.splitlines()]
    for lines in (rows.splitlines(), wrapped):
        at_once, by_line = Choice().new(), Choice().new()
        batch = at_once.feed(lines)
        assert [each for row in lines for each in by_line.feed([row]).lines] == batch.lines
        assert (at_once.name, by_line.name) == (name, name)
        if not name:
            assert batch.lines == rows.splitlines()


@given(
    st.dictionaries(
        st.sampled_from(["type", "uuid", "sessionId", "payload", "message", "timestamp"]),
        st.text() | st.just({"id": 1, "role": "user"}),
    )
)
def test_a_line_of_ours_is_never_taken_for_another_formats(extra):
    """Whatever else is in it."""
    row = json.dumps(
        json.loads(line()) | {"extra": 1} | {key: value for key, value in extra.items() if key != "timestamp"}
    ).encode()
    format_ = Choice().new()
    assert format_.feed([row]).lines == [row]
    assert (format_.name, format_.looking, format_.passes) == ("", False, True)


def test_lines_of_ours_cost_no_second_look():
    """Once a stream is known to be ours, it is what its container's format is, also after a restart."""
    format_ = Choice().new()
    format_.feed(OURS)
    assert format_.dump() == format_.container.dump()
    restored = Choice().load(format_.dump())
    assert (restored.looking, restored.passes) == (False, True)


# --- files that grow ---------------------------------------------------------------------------------------------


class World:
    """A folder that is followed, and what was committed of it."""

    def __init__(self, folder, **options):
        self.folder, self.options = folder, options
        self.rows: dict[tuple[str, str], bytes] = {}
        self.found = []
        self.start()

    def start(self):
        self.memory = Memory()
        self.source = FileSource(
            "test",
            str(self.folder / "*.jsonl*"),
            choice=Choice.named(None, self.memory),
            clock=lambda: 0.0,
            **self.options,
        )
        self.source.restore([(key, value) for (kind, key), value in self.rows.items() if kind == "file"])
        self.memory.restore([(key, value) for (kind, key), value in self.rows.items() if kind != "file"])

    def kill(self):
        self.source.close()
        self.start()

    def commit(self):
        for kind, key, value in (*self.source.changes(), *self.memory.changes()):
            self.rows.pop((kind, key), None)
            if value is not None:
                self.rows[kind, key] = value
        self.source.committed()

    def poll(self):
        """What is new, counted only if it is committed."""
        self.source._next_scan = float("-inf")
        new = []
        while (batch := self.source.read()) is not None:
            new += [read(each) for each in batch.lines]
        return new


def of_claude() -> list:
    """A session, its sub-agent and a fork."""
    main, sub = shop()
    fork = main.fork(2)
    fork.answer(words("Otherwise."), out=70)
    return [main, sub, fork]


def of_pi() -> list:
    """A session and two that branch from it."""
    session = Pi()
    session.answer(call(1))
    session.result("call_1", said="no such file", error=True, exitCode=2)
    branch = session.branch(2)
    branch.answer(out=11)
    again = branch.branch(3)
    again.answer(call(2))
    again.result("call_2")
    return [session, branch, again]


WORK = {"claude-code": of_claude, "codex": api, "codex before 0.163": lambda: api(old=True), "pi": of_pi}


@pytest.mark.parametrize("program", WORK)
@given(cuts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4000), st.booleans()), max_size=12))
def test_a_kill_at_any_moment_loses_nothing_and_counts_nothing_twice(program, cuts, tmp_path_factory):
    """Files that grow in turns; what was not committed is read again."""
    files = WORK[program]()
    folder = tmp_path_factory.mktemp("kill")
    world = World(folder)
    rest = [text(file.rows) for file in files]
    counted = []
    for which, size, killed in [*cuts, *((number, 1 << 20, False) for number in range(len(files)))]:
        number = which % len(files)
        part, rest[number] = rest[number][:size], rest[number][size:]
        with (folder / f"{number}.jsonl").open("ab") as file:
            file.write(part)
        new = world.poll()
        if killed:
            world.kill()
        else:
            world.commit()
            counted += new
    world.source.close()
    assert tokens(counted) == [sum(file.totals[part] for file in files) for part in (0, 1)]
    once = actions(*(file.rows for file in files))
    assert Counter((a.action, a.status, a.error_type) for a in counted) == Counter(
        (a.action, a.status, a.error_type) for a in once
    )


@pytest.mark.parametrize("program", WORK)
@given(cut=st.integers(0, 100))
def test_from_the_end_of_each_file_only_what_is_new_counts(program, cut, tmp_path_factory):
    """Wherever that is: what came before and what comes after are together all."""
    files = WORK[program]()
    folder = tmp_path_factory.mktemp("end")
    rows = [text(file.rows).splitlines(keepends=True) for file in files]
    before = [b"".join(lines[: len(lines) * cut // 100]) for lines in rows]
    for number, data in enumerate(before):
        (folder / f"{number}.jsonl").write_bytes(data)
    world = World(folder, start_at="end")
    assert world.poll() == []
    for number, lines in enumerate(rows):
        (folder / f"{number}.jsonl").write_bytes(b"".join(lines))
    new = world.poll()
    world.source.close()
    old = tokens(actions(*(data for data in before)))
    assert [x + y for x, y in zip(old, tokens(new), strict=True)] == [
        sum(file.totals[part] for file in files) for part in (0, 1)
    ]


def test_a_file_that_is_read_from_its_end_knows_its_session(tmp_path):
    """What it holds is remembered, and not counted."""
    first, _ = api()
    cut = len(first.rows) - 3
    path = tmp_path / first.name
    path.write_bytes(text(first.rows[:cut]))
    world = World(tmp_path, start_at="end")
    assert world.poll() == []
    path.write_bytes(text(first.rows))
    found = world.poll()
    world.source.close()
    assert [(action.session_id, action.action, action.tokens and action.tokens.model) for action in found] == [
        (first.thread, "turn_end", None)
    ]
    assert tokens(found) == [0, 0]


def test_a_log_goes_on_in_the_next_file_when_it_is_rotated(tmp_path):
    """A call that has begun in the one ends in the other."""
    main = Claude()
    [call] = main.answer(tool())
    path = tmp_path / "a.jsonl"
    path.write_bytes(text(main.rows))
    world = World(tmp_path)
    before = world.poll()
    path.rename(tmp_path / "a.jsonl.1")
    main.rows.clear()
    main.result(call)
    path.write_bytes(text(main.rows))
    after = world.poll()
    world.source.close()
    assert [(action.action, action.duration_ms) for action in before + after] == [("llm_call", None), ("Bash", 1000.0)]


def test_a_line_of_several_megabytes_counts(tmp_path):
    """A picture in a result. What is over the limit of the schema is left out of our line."""
    main = Claude()
    [call] = main.answer(tool("Read", file_path="till.png"))
    main.result(call, [{"type": "image", "source": {"data": "x" * (3 * MAX_LINE)}}])
    main.answer(words())
    written(tmp_path, a=main.rows)
    world = World(tmp_path)
    found = world.poll()
    world.source.close()
    assert [action.action for action in found] == ["llm_call", "Read", "llm_call"]
    assert tokens(found) == main.totals


def test_a_fork_of_what_was_there_before_the_start_counts_only_what_is_new(tmp_path):
    """With `start_at: end`, also over a kill while the file is read; and a call that had begun ends."""
    main, _ = shop()
    [call] = main.answer(tool(command="make"))
    path = tmp_path / "a.jsonl"
    path.write_bytes(text(main.rows) + b'{"type":"assi')
    world = World(tmp_path, start_at="end")
    assert world.poll() == []
    world.commit()
    world.kill()
    main.totals[:] = [0, 0]
    fork = main.fork(2)
    fork.answer(words("Otherwise."), out=70)
    main.result(call)
    main.answer(words("Done."))
    path.write_bytes(text(main.rows))
    (tmp_path / "b.jsonl").write_bytes(text(fork.rows))
    found = world.poll()
    world.source.close()
    assert outcomes(found) == {
        ("claude-code", "llm_call", "success", None): 2,
        ("claude-code", "Bash", "success", None): 1,
    }
    assert tokens(found) == [main.totals[part] + fork.totals[part] for part in (0, 1)]


# --- the commands ------------------------------------------------------------------------------------------------


def samples(printed: str, *names: str) -> dict[str, float]:
    rows = [row.rpartition(" ") for row in printed.splitlines() if row.startswith(names)]
    return {name: float(value) for name, _, value in rows}


def test_replay_counts_every_record_somewhere(tmp_path, capfd):
    """read = accepted + rejected + ignored; what no rule is for is counted by its type."""
    main, sub = shop()
    main.line("a_new_type")
    paths = written(tmp_path, main=[*main.rows, {"type": 'x"} 5', "sessionId": main.session}], sub=sub.rows)
    assert command(["replay", *paths]) == 0
    printed = capfd.readouterr().out
    lines = samples(printed, "agent_exporter_lines_")
    for path in paths:
        of = {name: value for name, value in lines.items() if path in name}
        read_ = of.pop(f'agent_exporter_lines_read_total{{source="{path}"}}')
        assert read_ == sum(value for name, value in of.items() if "repeated" not in name)
    assert samples(printed, "agent_exporter_records_skipped_total") == {
        f'agent_exporter_records_skipped_total{{format="claude-code",type="{kind}"}}': 1.0
        for kind in ("last-prompt", "a_new_type", "other")
    }
    assert samples(printed, 'agent_tokens_total{agent_id="claude-code/Explore"') == {
        'agent_tokens_total{agent_id="claude-code/Explore",model="claude-haiku-4-5",token_type="prompt"}': sub.totals[
            0
        ],
        'agent_tokens_total{agent_id="claude-code/Explore",model="claude-haiku-4-5",token_type="completion"}': sub.totals[
            1
        ],
    }


def test_replay_in_steps_counts_the_same(tmp_path, capfd):
    main, _ = shop()
    [path] = written(tmp_path, main=main.rows)
    pages = []
    for more in ([], ["--step", "1h"]):
        assert command(["replay", *more, path]) == 0
        rows = [row.split() for row in capfd.readouterr().out.splitlines()]
        counted = ("agent_exporter_lines_", "agent_exporter_records_", "agent_tokens_total")
        pages.append({row[0]: row[1] for row in rows if row[0].startswith(counted) and "_created" not in row[0]})
    assert pages[0] == pages[1]


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_files_of_one_pattern_are_read_in_order_of_time(tmp_path):
    """Whatever their names are; a file is open only while its time is read, as there may be thousands."""
    for number in range(50):
        main = Claude(number, entrypoint="sdk-cli")
        main.clock.now += timedelta(hours=number // 5 * 2, seconds=number)
        main.answer(words())
        (tmp_path / f"{100 - number}.jsonl").write_bytes(text(main.rows))
    before = _open_files()
    opened = []
    stages = past(parse(""), [str(tmp_path / "*.jsonl")])
    steps = in_steps(stages, 7200.0, lambda _: opened.append(_open_files() - before))
    counts = [stages.tally.sources[str(tmp_path / "*.jsonl")].accepted for _ in steps]
    assert counts == [*range(5, 51, 5)]
    assert max(opened) <= 5
    assert stages.pipeline.sources[0].progress() == (sum(path.stat().st_size for path in tmp_path.iterdir()),) * 2


def test_types_of_records_are_bounded():
    """They are text from a log."""
    stages = Stages(parse(""), MemoryStore(CELL_TYPES), [])
    for number in range(100):
        stages.tally.skipped(f"codex/t{number}", 1, 0.0)
        stages.tally.skipped("mine/one", 1, 0.0)
    counts = {label: cell.count for (kind, label), cell in stages.tally.counts.items() if kind == "record_skipped"}
    assert (len(counts), counts["codex/other"], counts["mine/one"]) == (42, 60, 100)


def test_a_looping_transcript_is_a_loop_at_the_fourth_time(tmp_path):
    """Of both programs: numbers in what a tool said do not hide it."""
    main = Claude()
    rollout = Codex()
    rollout.turn()
    for number in range(4):
        [call] = main.answer(tool(command="make check"))
        main.result(call, f"Exit code 2\nfailed after {number * 7} ms", error=True)
        rollout.call(code=2)
        rollout.answer(9000 + number)
    for name, rows in (("claude-code", main.rows), ("codex", rollout.rows)):
        found = []
        replay(
            parse("task_types: {}"),
            written(tmp_path, **{name: rows}),
            lambda _: None,
            found.append,
        )
        assert [(f.agent_id, f.evidence["loop"], f.evidence["times"]) for f in found if f.kind == "loop"] == [
            (name, "repeat", 4)
        ]


def test_explain_shows_a_session_and_its_sub_agents_as_one_tree(tmp_path, capfd):
    main, sub = shop()
    paths = written(tmp_path, main=main.rows, sub=sub.rows)
    assert command(["explain", "--session", main.session, *paths]) == 0
    printed = capfd.readouterr().out
    rows = [row.split("  ", 1)[1].split("   ")[0].strip() for row in printed.splitlines() if row[:5] == "09:00"]
    assert [row.strip("│├└▶ ") for row in rows] == [
        "claude-code 000000c1-1111…000000000001", "llm_call", "Bash: Exit code 2", "llm_call", "Agent", "claude-code/Explore a1b2",
        "llm_call", "Grep", "llm_call", "llm_call: rate_limit", "llm_call",
    ]  # fmt: skip


def test_validate_says_what_was_skipped(tmp_path, capfd):
    main, _ = shop()
    paths = written(tmp_path, main=main.rows)
    assert command(["validate", *paths]) == 0
    assert capfd.readouterr().out == (
        "10 lines: 6 accepted, 4 ignored, 0 rejected\n"
        "ignored as no rule of their format is for them (1 claude-code/last-prompt)\n"
    )
    assert command(["validate", "--json", *paths]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["skipped"] == {
        "claude-code/last-prompt": 1,
    }


MINE = """
defaults:
  timestamp: time
  agent_id: {const: till}
  session_id: run
records:
- when: {step: present}
  emit: {action: step, status: {from: ok, table: {true: success}, else: error}}
"""


def test_a_format_of_ones_own_is_named_by_its_file(tmp_path, capfd):
    """By the option, by the config, and in a .gz."""
    mine, log = tmp_path / "mine.yaml", tmp_path / "a.log.gz"
    mine.write_text(MINE)
    log.write_bytes(gzip.compress(b'{"time":1773824400,"run":"r1","step":"count","ok":true}\n{"level":"info"}\n'))
    config = tmp_path / "config.yaml"
    config.write_text(f"format: {mine}\n")
    for given_ in (["--format", str(mine)], ["--config", str(config)]):
        assert command(["replay", *given_, str(log)]) == 0
        printed = capfd.readouterr().out
        assert 'agent_actions_total{action="count",agent_id="till",status="success"} 1.0' in printed
        assert 'agent_exporter_records_skipped_total{format="mine",type="record"} 1.0' in printed


def test_what_is_wrong_with_a_format_is_said_before_anything_is_read(tmp_path, capfd):
    """All of it, for all that a config names."""
    mine, config = tmp_path / "mine.yaml", tmp_path / "config.yaml"
    mine.write_text("records: [{emit: {agent: x}}, {whenn: {}}]")
    config.write_text(f"format: nothing\nsources: {{a: {{path: /x, format: {mine}}}}}")
    for run in (["check-config", str(config)], ["replay", "--config", str(config), "/nowhere"]):
        assert command(run) == 2
        out, err = capfd.readouterr()
        assert (out, err.splitlines()) == ("", [
            f"format: 'nothing' is no format: it must be the path of a YAML file, or one of {', '.join(files.names())}",
            f"sources.a.format: {mine}: records[0].emit.agent: unknown key; did you mean agent_id?",
            f"sources.a.format: {mine}: records[1].whenn: unknown key; did you mean when?",
        ])  # fmt: skip


def test_formats_try_shows_each_line_with_what_became_of_it(tmp_path, capfd):
    """And `list` and `show` what there is."""
    log = tmp_path / "a.log"
    log.write_bytes(
        b'{"time":1773824400,"run":"r1","step":"count","ok":true}\n{"level":"info"}\n{"step":"x","run":"r1"}\n'
        + line()
        + b"\ntext\n"
    )
    mine = tmp_path / "mine.yaml"
    mine.write_text(MINE)
    assert command(["formats", "try", "--format", str(mine), str(log)]) == 1
    out, err = capfd.readouterr()
    assert [row for row in out.splitlines() if row.startswith("    ")] == [
        '    = {"agent_id":"till","timestamp":"2026-03-18T09:00:00Z","session_id":"r1","action":"count","status":"success"}',
        "    skipped: no rule is for the type record",
        "    ! timestamp is required",
        '      {"agent_id":"till","session_id":"r1","action":"x","status":"error"}',
        f"    = {line().decode()}",
        "    ! not JSON: invalid character (byte 4); the line: 'text'",
        "      text",
    ]
    assert "5 lines, 2 records, 2 rejected, 1 skipped, 0 without a line" in err
    assert command(["formats", "list"]) == 0
    listed = [row.split()[0] for row in capfd.readouterr().out.splitlines()]
    assert listed == [*files.names(), *files.presets()]
    assert command(["formats", "show", "codex"]) == 0
    assert capfd.readouterr().out.startswith("description: ")
    assert command(["formats", "show", "nothing"]) == 2
