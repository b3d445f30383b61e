"""Formats of further programs: sessions of pi and OpenClaw, LiteLLM's payloads, AutoGen's and OpenTelemetry's events."""

import itertools
import json
from pathlib import Path

import pytest
from foreign import Claude, Codex, Pi, actions, call, outcomes, text, tokens, tool, words, written

from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.formats.chosen import Choice
from agent_exporter.replay import replay

AT = 1773824402.5


def dumped(*rows) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


# --- pi and OpenClaw ---------------------------------------------------------------------------------------------


def backup() -> Pi:
    """A session with a tool that fails, one that hands on, and a model that fails."""
    session = Pi()
    session.message("user", content="Is the backup there?")
    session.answer(call(1), stopReason="toolUse")
    session.result("call_1", said="ls: no such file", error=True, status="completed", exitCode=2, durationMs=130)
    session.answer(call(2, "sessions_spawn", task="ask"), stopReason="toolUse")
    session.result("call_2", "sessions_spawn", status="accepted")
    session.answer(fresh=0, read=0, written=0, out=0, stopReason="error", errorMessage="529 overloaded_error: later")
    session.answer({"type": "text", "text": "No."}, out=70)
    session.entry("compaction", summary="no backup", tokensBefore=9000)
    return session


def test_a_session_of_openclaw():
    """The agent's name stands in the path alone; the prompt has the cached tokens in it."""
    session = backup()
    path = f"/home/al/.openclaw/agents/main/sessions/{session.session}.jsonl"
    found = actions(session.rows, paths=[path])
    assert outcomes(found) == {
        ("openclaw/main", "llm_call", "success", None): 3,
        ("openclaw/main", "llm_call", "error", "overloaded_error"): 1,
        ("openclaw/main", "exec", "error", "Exit code 2"): 1,
        ("openclaw/main", "sessions_spawn", "success", None): 1,
    }
    assert tokens(found) == session.totals
    assert sum(action.tokens.cost_usd for action in found if action.tokens) == pytest.approx(session.cost)
    assert {(action.session_id, action.metadata.task_type) for action in found} == {(session.session, "coding_agent")}
    assert [action.duration_ms for action in found] == [2000, 130, 2000, 2000, 2000, 2000]
    failed = next(action for action in found if action.action == "exec")
    assert (failed.error_message, json.loads(failed.contents()[0])) == ("ls: no such file", {"command": "make"})


def test_a_session_of_pi_has_the_program_as_its_agent():
    found = actions(backup().rows, paths=["/home/al/.pi/agent/sessions/--work--/2026-03-18_x.jsonl"])
    assert {action.agent_id for action in found} == {"pi"}


def test_a_trajectory_of_openclaw_counts_nothing():
    """It stands among the sessions, and sums up what they say."""
    row = {
        "traceSchema": "openclaw-trajectory",
        "type": "model.completed",
        "sessionId": "s",
        "data": {"usage": {"input": 9}},
    }
    batch = Choice().new().feed(dumped(row))
    assert (batch.lines, dict(batch.skipped)) == ([], {"pi/model.completed": 1})


def test_rows_of_openclaws_database_are_the_same_records():
    """From 2026.8 on a source reads them by session: the path names the agent and, without a first row, the session."""
    session = backup()
    path = f"/home/al/.openclaw/agents/main/agent/openclaw-agent.sqlite/{session.session}"
    found = actions(session.rows[2:], format_="pi", paths=[path])
    assert {(action.agent_id, action.session_id) for action in found} == {("openclaw/main", session.session)}
    assert tokens(found) == session.totals


def test_a_file_that_a_later_version_of_pi_rewrites_counts_once():
    """The first version had no ids."""
    session = backup()
    old = [
        {key: value for key, value in row.items() if key not in {"id", "parentId", "version"}} for row in session.rows
    ]
    old[0]["id"] = session.session
    assert tokens(actions(old)) == session.totals
    assert outcomes(actions(old, session.rows)) == outcomes(actions(old))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_branched_sessions_of_pi_count_once_in_any_order(order):
    """Each begins with the entries of the other."""
    session = backup()
    branch = session.branch(2)
    branch.answer(out=11)
    again = branch.branch(3)
    again.answer(out=12)
    files = [session, branch, again]
    found = actions(*(files[number].rows for number in order))
    assert tokens(found) == [sum(file.totals[part] for file in files) for part in (0, 1)]
    assert sum(outcomes(found).values()) == 8


def test_a_looping_session_of_pi_is_a_loop_at_the_fourth_time(tmp_path):
    session = Pi()
    for number in range(4):
        session.answer(call(number))
        session.result(f"call_{number}", said=f"failed after {number * 7} ms", error=True, exitCode=2)
    found = []
    replay(parse(""), written(tmp_path, pi=session.rows), lambda _: None, found.append)
    assert [(f.agent_id, f.evidence["loop"], f.evidence["times"]) for f in found if f.kind == "loop"] == [
        ("pi", "repeat", 4)
    ]


# --- a healthy session pages nobody ------------------------------------------------------------------------------


def worked(program: str):
    """Three hours of work: 180 calls of the model with some 60,000 tokens each, each with a tool, one in ten failing."""
    session = {"claude-code": Claude, "codex": Codex, "pi": Pi}[program]()
    for number in range(180):
        failing = number % 10 == 0
        given, size = f"make part{number}", 30_000 + 400 * number
        if program == "claude-code":
            [name] = session.answer(tool(command=given), read=size)
            session.result(name, f"Exit code 1\n{given} failed" if failing else f"{given} done", error=failing)
        elif program == "codex":
            session.call(given, code=int(failing))
            session.answer(size, size - 2000)
        else:
            session.answer(call(number, command=given), read=size)
            session.result(f"call_{number}", said=given, error=failing, exitCode=int(failing))
        session.clock(60)
    return session


@pytest.mark.parametrize("program", ["claude-code", "codex", "pi"])
def test_a_healthy_session_of_hours_is_no_finding(program, tmp_path):
    """Nor is its start over the default budgets of other agents, 50,000 tokens and 5 minutes."""
    session = worked(program)
    found = []
    replay(parse(""), written(tmp_path, a=session.rows), lambda _: None, found.append)
    assert [(f.kind, f.evidence) for f in found] == []
    assert sum(session.totals) > 5_000_000


def test_the_budget_of_coding_agents_is_a_task_type_of_ones_own(tmp_path):
    """A key that is left out keeps its built-in value, and what no session has is not shown."""
    session = worked("claude-code")
    found = []
    config = parse("task_types: {coding_agent: {session_cost_usd: 0.5}}")
    replay(config, written(tmp_path, a=session.rows), lambda _: None, found.append)
    assert [(f.kind, f.evidence["max_cost_usd"], f.evidence["task_type"]) for f in found] == [
        ("session_budget", 0.5, "coding_agent")
    ]
    assert config.task_type("coding_agent").max_duration == 8 * 3600


def test_the_built_in_task_type_is_shown_with_its_first_session(tmp_path, capfd):
    shown = 'agent_session_token_budget{task_type="coding_agent"} 2e+08\n'
    ours = tmp_path / "ours.log"
    ours.write_bytes(dumped({"agent_id": "a", "session_id": "s", "action": "x", "status": "success", "timestamp": "2026-03-18T09:00:00Z"})[0])  # fmt: skip
    for paths, expected in (([str(ours)], False), (written(tmp_path, pi=backup().rows), True)):
        assert command(["replay", *paths]) == 0
        assert (shown in capfd.readouterr().out) is expected


# --- LiteLLM -----------------------------------------------------------------------------------------------------


def payload(number: int = 1, **more) -> dict:
    """As a callback of the proxy sends it, without the messages."""
    base = {
        "id": f"chatcmpl-{number}",
        "trace_id": "t1",
        "session_id": "s1",
        "litellm_call_id": f"c{number}",
        "call_type": "acompletion",
        "status": "success",
        "status_fields": {"llm_api_status": "success"},
        "response_cost": 0.002,
        "prompt_tokens": 900,
        "completion_tokens": 80,
        "startTime": AT - 1.5,
        "endTime": AT,
        "model": "gpt-5-mini",
        "metadata": {
            "user_api_key_alias": "till",
            "user_api_key_team_alias": "shop",
            "usage_object": {"prompt_tokens_details": {"cached_tokens": 512}},
        },
        "cache_hit": None,
        "error_str": None,
        "error_information": {"error_class": "", "error_message": ""},
    }
    return base | more


def test_calls_through_litellm():
    """A cached answer costs no tokens again; a failure has its class; what a callback delivers twice counts once."""
    late = {"error_class": "Timeout", "error_message": "no answer"}
    mcp = {"name": "find_invoice", "arguments": {"number": "7"}}
    rows = [
        payload(),
        payload(id="chatcmpl-1_cache_hit1773824403.1", cache_hit=True, response_cost=0.0),
        payload(2, status="failure", error_information=late, prompt_tokens=0, completion_tokens=0, response_cost=0),
        payload(3, status="failure", error_information=late | {"error_class": "RateLimitError"}, response_cost=0),
        payload(4, call_type="call_mcp_tool", metadata={"user_api_key_alias": "till", "mcp_tool_call_metadata": mcp}),
        payload(5, call_type="aembedding", session_id="", completion_tokens=0),
        payload(),
    ]
    found = actions(rows)
    assert [(a.action, a.status, a.error_type, a.session_id) for a in found] == [
        ("llm_call", "success", None, "s1"),
        ("cache_hit", "success", None, "s1"),
        ("llm_call", "timeout", "Timeout", "s1"),
        ("llm_call", "error", "RateLimitError", "s1"),
        ("find_invoice", "success", None, "s1"),
        ("embeddings", "success", None, "t1"),
    ]
    assert {(a.agent_id, a.parent_trace_id, a.metadata.team, a.duration_ms, a.at) for a in found[:4]} == {
        ("till", "t1", "shop", 1500.0, AT)
    }
    first = found[0].tokens
    assert (first.prompt, first.completion, first.cache_read, first.model, first.cost_usd) == (
        900, 80, 512, "gpt-5-mini", 0.002,
    )  # fmt: skip
    assert (found[1].tokens.prompt, found[1].tokens.cost_usd) == (None, None)


# --- AutoGen -----------------------------------------------------------------------------------------------------


def events() -> list[dict]:
    """Of a call, a tool, and a tool that fails, of which each receiver has a copy."""
    usage = {"prompt_tokens": 900, "completion_tokens": 80, "prompt_tokens_details": {"cached_tokens": 512}}
    content = [{"content": "boom", "name": "lookup", "call_id": "call_2", "is_error": True}]
    message = {"source": "buyer", "content": content, "created_at": "2026-03-18T09:00:02.500000Z"}
    failed = {"message": message | {"type": "ToolCallExecutionEvent"}}
    copy = {"type": "Message", "payload": json.dumps(failed), "sender": "buyer_1f2e/1f2e", "delivery_stage": "SEND"}
    return [
        {"type": "LLMCall", "messages": [], "response": {"model": "gpt-5-mini", "usage": usage}, "prompt_tokens": 900,
         "completion_tokens": 80, "agent_id": "buyer_1f2e/1f2e"},
        {"type": "ToolCall", "tool_name": "lookup", "arguments": {"sku": "A"}, "result": "12", "agent_id": "buyer/1f2e"},
        copy,
        copy,
        {"type": "Message", "payload": "Message could not be serialized", "sender": "buyer_1f2e/1f2e", "delivery_stage": "SEND"},
    ]  # fmt: skip


@pytest.mark.parametrize("wrapped", [False, True], ids=["with their time", "as the message of a logger"])
def test_events_of_autogen(wrapped):
    """Without a time they have to be written by a logger that adds one."""
    time = "2026-03-18T09:00:02.500Z"
    rows = [{"timestamp": time, "message": json.dumps(e)} if wrapped else {"timestamp": time} | e for e in events()]
    stream = Choice().new()
    batch = stream.feed(text(rows).splitlines())
    assert (stream.name, dict(batch.skipped)) == ("autogen", {"autogen/Message": 1})
    found = actions(rows)
    assert [(a.agent_id, a.session_id, a.action, a.status, a.error_message, a.at) for a in found] == [
        ("buyer", "1f2e", "llm_call", "success", None, AT),
        ("buyer", "1f2e", "lookup", "success", None, AT),
        ("buyer", "1f2e", "lookup", "error", "boom", AT),
    ]
    assert tokens(found) == [900, 80]
    assert found[0].tokens.cache_read == 512


# --- OpenTelemetry's GenAI events --------------------------------------------------------------------------------


def test_genai_events():
    """Tokens, models and failures; the prompt has the cached tokens in it, the completion those of the reasoning."""
    name = "gen_ai.client.inference.operation.details"
    ids = {"trace_id": "3f" * 16, "span_id": "a1" * 8}
    usage = {
        "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.output_tokens": 80,
        "gen_ai.usage.cache_read.input_tokens": 512,
    }
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini", "gen_ai.conversation.id": "c1"}
    resource = {"service.name": "till"}
    rows = [
        {"time": AT, "event": name, "attributes": asked | usage, "resource": resource} | ids,
        {"time": AT, "event": name, "attributes": asked | {"error.type": "RateLimitError"}, "resource": resource} | ids,
        {"time": AT, "event": "gen_ai.evaluation.result", "attributes": {"gen_ai.evaluation.name": "x"}} | ids,
    ]
    batch = Choice.named("genai").new().feed(dumped(*rows))
    assert dict(batch.skipped) == {"genai/gen_ai.evaluation.result": 1}
    found = actions(rows, format_="genai")
    assert [(a.agent_id, a.session_id, a.action, a.status, a.error_type) for a in found] == [
        ("till", "c1", "llm_call", "success", None),
        ("till", "c1", "llm_call", "error", "RateLimitError"),
    ]
    assert tokens(found) == [900, 80]


# --- which format it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (backup().rows, "pi"),
        (backup().rows[2:], "pi"),
        ([payload()], "litellm"),
        ([{"timestamp": "x"} | events()[0]], "autogen"),
        ([{"type": "session", "id": "not pi's"}], ""),
        ([{"call_type": "x", "startTime": 1, "endTime": 2}], ""),
        ([{"type": "Message", "payload": "{}"}], ""),
    ],
)
def test_the_first_lines_show_the_format(rows, name):
    format_ = Choice().new()
    format_.feed(dumped(*rows))
    assert format_.name == name


def test_words_and_tools_of_other_formats_are_no_sessions_of_pi():
    main = Claude()
    main.answer(words(), tool())
    format_ = Choice().new()
    format_.feed(dumped(*main.rows))
    assert format_.name == "claude-code"


# --- files of real runs ------------------------------------------------------------------------------------------

RUNS = Path(__file__).parent / "runs"
REPORTED = {
    "claude-code": ([136_096, 2_568], 0.168510 + 2 * 0.028085),  # of its three runs; the fourth failed
    "codex": ([60_000, 900], None),  # of the fork, which goes on with the totals of its thread
    "openclaw": ([31_000, 462], 0.017554 + 0.0033108),  # of the session and its sub-agent
}
FAILED = {
    "claude-code": {"Bash": "Exit code 3", "Read": "tool_error", "llm_call": "http_400"},
    "codex": {"exec_command": "Exit code 3"},
    "openclaw": {"exec": "Exit code 3", "read": "tool_error"},
}


@pytest.mark.parametrize("program", REPORTED)
def test_the_totals_of_a_real_run_are_those_that_the_program_reports(program):
    """In any order of its files, each recognized by its first lines."""
    paths = sorted((RUNS / program).rglob("*.jsonl"))
    for order in itertools.permutations(paths):
        found = actions(*(path.read_bytes() for path in order), paths=[str(path) for path in order])
        assert tokens(found) == REPORTED[program][0]
        assert {a.action: a.error_type for a in found if a.status == "error"} == FAILED[program]


@pytest.mark.parametrize("program", ["claude-code", "openclaw"])
def test_the_cost_of_a_real_run_is_that_which_the_program_reports(program, capfd):
    """Claude Code's by our prices, OpenClaw's as it logs it."""
    assert command(["replay", f"{RUNS / program}/**/*.jsonl"]) == 0
    costs = [row for row in capfd.readouterr().out.splitlines() if row.startswith("agent_cost_usd_total{")]
    assert sum(float(row.split()[1]) for row in costs) == pytest.approx(REPORTED[program][1])


def test_a_real_task_with_its_sub_agent_is_one_tree():
    """The sub-agent and the session are in the trace of the session, and the fork is one of its own."""
    paths = sorted((RUNS / "claude-code").rglob("*.jsonl"))
    found = actions(*(path.read_bytes() for path in paths))
    tree = {(a.parent_trace_id == a.session_id, a.agent_id, a.metadata.parent_agent_id) for a in found}
    assert tree == {(True, "claude-code", None), (False, "claude-code/general-purpose", "claude-code")}
    [of_sub] = {a.parent_trace_id for a in found if a.agent_id != "claude-code"}
    [delegating] = [a.session_id for a in found if a.action == "Agent"]
    assert of_sub == delegating
