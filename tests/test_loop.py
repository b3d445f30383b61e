"""Loops: what is one, and above all what only looks like one."""

from __future__ import annotations

import base64
import gzip
import json
import random

import pytest
from conftest import LOGS
from detecting import Exporter, call, findings, line, loops
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.detectors.fingerprint import UNKNOWN, failure, fingerprint


def calls(count: int, step: float = 1, **fields) -> list[bytes]:
    """The same call again and again, logged by one whose retry_count stays 0."""
    return [call(number * step, duration_ms=number + 1, **fields) for number in range(count)]


# --- repeat --------------------------------------------------------------------------------------------------------


def test_the_fourth_like_call_in_a_row_is_a_repeat_and_told_once():
    """With the session, the trace as the lines name it, and the time of the fourth."""
    assert findings(*calls(9, parent_trace_id="t")) == [
        {
            "kind": "loop",
            "agent_id": "a",
            "session_id": "s",
            "trace_id": "t",
            "at": "2026-03-18T09:00:03.000Z",
            "evidence": {"loop": "repeat", "action": "search", "times": 4},
        }
    ]


def test_three_are_none():
    """More than three."""
    assert loops(*calls(3)) == []


def test_the_number_is_the_configs():
    """detectors.loop.max_repeats."""
    config = "detectors: {loop: {max_repeats: 5}}"
    assert loops(*calls(5), config=config) == []
    assert loops(*calls(6), config=config) == ["repeat"]


def test_a_call_of_a_model_in_between_hides_nothing():
    """Real runs put one, with ever new text, between the tools of a loop."""
    between = [call(number + 0.5, action="llm_call", wanted=number, came=-number) for number in range(4)]
    lines = sorted([*calls(4), *between])
    assert loops(*lines) == ["repeat"]
    assert loops(*lines, config="llm_actions: [other]") == []


def test_calls_of_a_model_alone_can_go_round_too():
    """The same prompt and the same answer."""
    assert loops(*calls(4, action="llm_call")) == ["repeat"]


def test_another_tool_in_between_ends_a_repeat():
    """In a row."""
    assert loops(*calls(3), call(3, action="read"), *[call(second, duration_ms=7) for second in (4, 5, 6)]) == []


def test_another_session_does_not_count():
    """Two sessions, and two agents with one session id."""
    assert loops(*calls(2), *calls(2, session_id="z"), *calls(2, agent_id="b")) == []


def test_an_outcome_that_changes_is_progress():
    """As in polling: at most three times the same answer."""
    answers = [10, 10, 10, 20, 20, 20, 30]
    assert loops(*[call(second, came=answer) for second, answer in enumerate(answers)]) == []


def test_the_next_item_is_another_call():
    """All answered alike."""
    assert loops(*[call(number, wanted=f"INV-{number}", came="done") for number in range(9)]) == []


def test_a_status_that_changes_is_another_outcome():
    """Two failures, a success, two failures."""
    statuses = ["error", "error", "success", "error", "error"]
    assert loops(*[call(second, status=status) for second, status in enumerate(statuses)]) == []


def test_what_is_unknown_equals_nothing():
    """No input, or neither output nor error."""
    assert loops(*[line(second, output={"n": 1}, duration_ms=second) for second in range(9)]) == []
    assert loops(*[line(second, input={"n": 1}, duration_ms=second) for second in range(9)]) == []
    refused = {"input": {"n": 1}, "status": "error", "error": "refused"}
    assert loops(*[line(second, duration_ms=second, **refused) for second in range(9)]) == ["repeat"]


def test_polling_actions_are_exempt_and_exempt_what_they_stand_in():
    """By glob; waiting between two looks is no loop either."""
    config = "detectors: {loop: {polling_actions: ['poll*']}}"
    poll = [call(number, action="poll_status") for number in range(9)]
    wait = [call(number + 0.5, action="wait") for number in range(9)]
    assert loops(*sorted(poll + wait), config=config) == []
    assert loops(*poll) == ["repeat"]


# --- cycle ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["ab", "abc", "aab", "abcd"])
def test_two_to_four_actions_three_times_over_are_a_cycle(names):
    """At the last action of the third round."""
    steps = list(names * 3)
    lines = [call(second, action=name) for second, name in enumerate(steps)]
    [found] = findings(*lines)
    assert found["evidence"] == {"loop": "cycle", "actions": list(names), "rounds": 3}
    assert found["at"] == f"2026-03-18T09:00:{len(steps) - 1:02}.000Z"
    assert loops(*lines[:-1]) == []


def test_five_actions_are_a_procedure():
    """Not a cycle of at most four."""
    assert loops(*[call(second, action=name) for second, name in enumerate("abcde" * 5)]) == []


def test_editing_and_testing_goes_round_in_names_only():
    """Every edit is another one, and fewer tests fail."""
    lines = []
    for number in range(6):
        lines += [call(2 * number, action="edit", wanted=number), call(2 * number + 1, action="test", came=6 - number)]
    assert loops(*lines) == []


def test_tests_that_fail_alike_after_each_new_edit_are_no_cycle():
    """One of the two changes, so the round does."""
    lines = []
    for number in range(6):
        lines += [call(2 * number, action="edit", wanted=number), call(2 * number + 1, action="test")]
    assert loops(*lines) == []


def handoffs(rounds: int, **more) -> list[bytes]:
    """Two agents of one trace pass the same question to and fro."""
    lines = []
    for number in range(rounds):
        front = {"agent_id": "front", "session_id": "f", "action": "handoff", "duration_ms": number}
        back = {"agent_id": "back", "session_id": "b", "action": "clarify", "duration_ms": number}
        lines += [
            call(2 * number, parent_trace_id="t", **front),
            call(2 * number + 1, parent_trace_id="t", **back, metadata={"parent_agent_id": "front"}, **more),
        ]
    return lines


def test_agents_of_one_trace_can_go_round_together():
    """Neither session shows it; it is the trace's, and told once."""
    assert findings(*handoffs(3)) == [
        {
            "kind": "loop",
            "agent_id": "back",
            "trace_id": "t",
            "at": "2026-03-18T09:00:05.000Z",
            "evidence": {
                "loop": "cycle",
                "actions": ["handoff", "clarify"],
                "rounds": 3,
                "agents": ["front", "back"],
            },
        }
    ]


def test_two_agents_in_traces_of_their_own_do_not():
    """What they share is the time of day."""
    assert loops(*[text.replace(b'"t"', b'"u"') if b"back" in text else text for text in handoffs(3)]) == []


# --- retries -------------------------------------------------------------------------------------------------------


def test_more_than_three_retries_are_a_loop_whoever_logs_the_ones_before():
    """Three are not."""
    retry = [line(second, metadata={"retry_count": second}) for second in range(9)]
    assert loops(*retry[:4]) == []
    [found] = findings(*retry)
    assert found["evidence"] == {"loop": "retries", "action": "search", "retry_count": 4}
    assert loops(line(0, metadata={"retry_count": 7})) == ["retries"]


# --- overtime ------------------------------------------------------------------------------------------------------


def work(*seconds: float, **fields) -> list[bytes]:
    """Different calls."""
    return [call(second, wanted=second, **fields) for second in seconds]


def test_a_session_at_work_after_its_time_is_overtime_from_that_instant_on():
    """Five minutes from the start of its first action; the instant counts."""
    lines = work(0, 200, duration_ms=2000)
    assert loops(*lines, *work(297.9)) == []
    [found] = findings(*lines, *work(301))
    assert found["at"] == "2026-03-18T09:04:58.000Z"
    assert found["evidence"] == {"loop": "overtime", "max_seconds": 300.0, "task_type": "default"}
    assert loops(*lines, *work(298)) == ["overtime"]


def test_the_time_is_that_of_the_task_type():
    """A batch may take longer."""
    config = "task_types: {batch: {max_duration: 10m}}"
    lines = work(0, 200, 400, 599, metadata={"task_type": "batch"})
    assert loops(*lines, config=config) == []
    assert loops(*lines, *work(600), config=config) == ["overtime"]


def beat(second: float, state: str, session_id: str = "proc") -> bytes:
    """A sign of life."""
    return line(second, action="heartbeat", session_id=session_id, output={"state": state})


@pytest.mark.parametrize("named", ["s", "proc"])
def test_a_long_call_is_overtime_while_heartbeats_say_that_it_goes_on(named):
    """Whether they name the session or only their process."""
    lines = [*work(0, 30), beat(60, "working", named), beat(299, "working", named)]
    assert loops(*lines) == []
    assert loops(*lines, beat(310, "working", named)) == ["overtime"]


@pytest.mark.parametrize("before", [
    [line(31, metadata={"session_end": True})],
    [beat(31, "idle")],
    [line(31, metadata={"session_end": True}, parent_trace_id="u"), line(305, session_id="z", input={"q": 1})],
])  # fmt: skip
def test_heartbeats_after_the_end_or_a_rest_are_of_other_work(before):
    """And a session that just stops is not at work."""
    assert loops(*work(0, 30), *before, beat(310, "working"), beat(600, "working")) == []


# --- fingerprints --------------------------------------------------------------------------------------------------


ALIKE = [
    ({"input": {"a": 1, "b": [1.0]}, "output": {"c": None}}, {"input": {"b": [1], "a": 1.0}, "output": {"c": None}}),
    ({"input": {"q": "x", "request": "9f86d081"}}, {"input": {"request": "60303ae2", "q": "x"}}),
    ({"input": {"q": "x", "request_id": "req_01HZX4T9QW3E"}}, {"input": {"q": "x", "request_id": "req_7Yd0Pk2LmN8v"}}),
    ({"input": {"q": "x", "ts": "2026-03-18T09:00:01Z"}}, {"input": {"q": "x", "ts": "2026-03-18T08:59:32+00:00"}}),
    ({"input": {"q": "x", "now": 1773824401}}, {"input": {"q": "x", "now": 1773824402.5}}),
    ({"input": {"q": "x", "now": 1773824401000}}, {"input": {"q": "x", "now": "1773824402000"}}),
    ({"status": "failed", "error": "took 980 ms"}, {"status": "FAILURE", "error": "took 1,002 ms"}),
    ({"input": {"q": "x", "attempt": 1}}, {"input": {"q": "x", "attempt": 2}}),
    ({"output": {"id": "9f86d081", "took_ms": 3}}, {"output": {"id": "60303ae2", "took_ms": 40}}),
    ({"output": {"text": "made 2026-03-18T09:15:32Z"}}, {"output": {"text": "made 2026-03-18 09:16:00+01:00"}}),
    (
        {"status": "error", "output": {"error": {"message": "slow down (request 1b4f0e), 3 left"}}},
        {"status": "error", "output": {"error": {"message": "slow down (request fd61a0), 2 left"}}},
    ),
    ({"status": "error", "output": "Error: line 3"}, {"status": "error", "output": "Error: line 17"}),
    (
        {"output": {"text": "job 3f2b8a90-1c2d-4e5f-8a9b-0c1d2e3f4a5b"}},
        {"output": {"text": "job 00000000-1c2d-4e5f-8a9b-0c1d2e3f4a5b"}},
    ),
    ({"timestamp": "2026-03-18T09:00:00Z", "duration_ms": 1}, {"timestamp": "2026-03-18T10:00:00Z", "duration_ms": 2}),
]
DIFFERENT = [
    ({"output": {"percent": 30}}, {"output": {"percent": 40}}),
    ({"input": {"invoice": "INV-1001"}}, {"input": {"invoice": "INV-1002"}}),
    ({"input": {"id": 17}}, {"input": {"id": 18}}),
    ({"input": {"document": "9f86d081"}}, {"input": {"document": "60303ae2"}}),
    ({"input": {"run": "unit tests"}}, {"input": {"run": "smoke tests"}}),
    ({"input": {"when": "2026-03-18T10:00"}}, {"input": {"when": "2026-03-18T11:00"}}),
    ({"input": {"page": 1}}, {"input": {"page": 2}}),
    ({"input": {"seq": 1}}, {"input": {"seq": 2}}),
    ({"input": {"run_id": 7001}}, {"input": {"run_id": 7002}}),
    ({"input": {"request_id": 7001}}, {"input": {"request_id": 7002}}),
    ({"input": {"request_id": "9f86d081"}}, {"input": {"request_id": "60303ae2"}}),
    ({"input": {"op": "read", "sessionId": "term1"}}, {"input": {"op": "read", "sessionId": "term2"}}),
    ({"input": {"q": "x", "id": "9f86d081"}}, {"input": {"q": "x", "id": "60303ae2"}}),
    ({"input": {"time": "14:00"}}, {"input": {"time": "15:00"}}),
    ({"input": {"start_time": "2026-03-19T10:00:00Z"}}, {"input": {"start_time": "2026-03-19T11:00:00Z"}}),
    ({"input": {"elapsed": 1}}, {"input": {"elapsed": 2}}),
    ({"input": {"x": 1}}, {"input": {"x": True}}),
    ({"input": {"x": 1}}, {"input": {"x": "1"}}),
    ({"output": "found 3"}, {"output": "found 4"}),
    ({"status": "error"}, {"status": "timeout"}),
    ({"action": "a"}, {"action": "b"}),
    ({"agent_id": "a"}, {"agent_id": "b"}),
    ({"error": "refused"}, {"error": "not found"}),
]


def mark(**fields) -> int:
    """The fingerprint of a call."""
    return fingerprint(line(0, **({"input": {}, "output": {}} | fields)))


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_says_when_or_which_call_it_was_is_left_out(one, other):
    """Ids of calls, times, counters of attempts; numbers in error texts."""
    assert mark(**one) == mark(**other) != UNKNOWN


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_says_what_it_was_about_is_not(one, other):
    """Masking every number would make progress a loop."""
    assert mark(**one) != mark(**other)


# --- real runs -----------------------------------------------------------------------------------------------------


def test_of_two_hundred_real_runs_one_goes_round_three_times():
    """Booking, refused, thinking, three times over. The run that asks twice for the same two flights does not."""
    lines = gzip.decompress((LOGS / "tau-airline-gpt4o.ndjson.gz").read_bytes()).splitlines()
    [found] = [found for found in findings(*lines) if found["kind"] == "loop"]
    assert found["session_id"] == "sess_airline_9_2_109"
    assert found["evidence"] == {"loop": "cycle", "actions": ["book_reservation", "think"], "rounds": 3}


def test_the_wait_for_a_person_is_not_overtime():
    """The session's clock stands still from the pause to the resume, and runs on from there."""
    paused = line(10, action="ask", metadata={"session_paused": True})
    lines = [line(0), paused, *(line(second, action="heartbeat") for second in range(100, 900, 100))]
    assert loops(*lines, line(7_200), line(7_489)) == []
    assert loops(*lines, line(7_200), line(7_489), line(7_491)) == ["overtime"]


# --- failures that differ in ids only ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Connection to 10.0.0.{n}:5432 refused",
        "<HTTPConnection object at 0x7f42{n:08x}>: refused",
        "overloaded (request_id: req_011C{letters}N)",
        "overloaded (request_id: req_{letters})",
        "request id: {letters}",
        "cannot open /tmp/{letters}/out.csv",
        "cannot open /var/folders/zz/{letters}/T/out",
        "cannot open C:\\\\Users\\\\me\\\\Temp\\\\{letters}.txt",
        "cannot open c:/temp/{letters}/x",
        "GET file:///tmp/{letters}: not found",
        "stat:/tmp/{letters}: no such file",
        "spawn:C:\\\\TEMP\\\\{letters}: not found",
        "mmap(/dev/shm/{letters}) failed",
        "job 9f86d081-884c-4d65-9a2f-eaa0c55a{n:04d} is gone",
        "object {hexed} is gone",
        "peer {mac} is unreachable",
        "pod web-{n}-{letters}x{n} was evicted",
        "timed out after {n}.{n} s (attempt {n})",
        "see /var/log/app-{n}.log",
        "lock held by Thread@{hexed}",
        "cannot write /home/me/.cache/tmp{low}",
        "$TMPDIR/{letters} is missing",
        "open /run/user/1000/{letters}: denied",
        "pod web-{pod} is not ready",
        "retry at {day}, {n} {month} 2026 09:{n}:00 GMT",
        "GET https://api.example.com/items?sig={letters}&exp={n}: 403",
    ],
)
def test_failures_that_differ_in_ids_numbers_and_temporary_paths_are_alike(text):
    """The fourth like one is a repeat."""
    lines = []
    for number in range(4):
        letters = "".join("ghijKLMNop"[(number * 3 + at) % 10] for at in range(8))
        hexed = "".join("abcdef"[(number + at) % 6] for at in range(12))
        mac = ":".join("abcdef"[(number + at) % 6] * 2 for at in range(6))
        pod = "".join("bcdfghjklm"[(number * 3 + at) % 10] for at in range(5))
        day, month = ("Mon", "Tue", "Wed", "Thu")[number], ("Jan", "Feb", "Mar", "Apr")[number]
        said = text.format(
            n=number + 7, letters=letters, low=letters.lower(), hexed=hexed, mac=mac, pod=pod, day=day, month=month
        )
        lines.append(call(number, status="error", came=None, error={"type": "E", "message": said}))
    assert loops(*lines) == ["repeat"]


def test_timeouts_that_say_nothing_are_alike():
    """The status says what happened; an error without a text says nothing."""
    assert loops(*(line(n, action="x", input={"n": n}, status="timeout") for n in range(6))) == ["failing"]
    assert loops(*(line(n, action="x", input={"n": n}, status="error") for n in range(6))) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the proxy is down", "the proxy is full"),
        ("no such file: /data/orders.csv", "no such file: /data/refunds.csv"),
        ("ConnectionError", "PermissionError"),
        ("access denied", "rate limited"),
        ("session manager stopped", "session manager crashed"),
        ("no such file: /home/me/tmp/orders.csv", "no such file: /home/me/tmp/refunds.csv"),
        ("stat:/tmp/a1: denied", "open:/tmp/a1: denied"),
    ],
)
def test_failures_that_differ_in_words_are_not_alike(one, other):
    """The words say what happened."""
    texts = [one, other] * 4
    assert "repeat" not in loops(*(call(n, status="error", error={"message": text}) for n, text in enumerate(texts)))


@given(text=st.text(max_size=300))
def test_any_text_of_a_failure_equals_itself(text):
    """And masking never raises."""
    said = json.dumps(text).encode()
    record = b'{"agent_id":"a","action":"x","status":"error","input":1,"error":%s}' % said
    assert failure(record) == failure(record)


def test_a_long_hostile_failure_is_masked_in_a_moment():
    """Every pattern is linear: a hundred megabytes of failures take seconds, not hours."""
    for text in (
        "a" * 1_000_000,
        ":" * 1_000_000 + "x",
        "C:\\" * 200_000,
        "C:\\" * 200_000 + "Temp\\",
        "/Temp" * 200_000,
        "/tmp/" * 200_000,
        "req_" * 200_000,
        "a:" * 400_000,
        "::" * 400_000,
    ):
        failure(json.dumps({"agent_id": "a", "action": "x", "status": "error", "error": text}).encode())


# --- failing -------------------------------------------------------------------------------------------------------


def failed(second: float, wanted: str, said: str = "no such file: report.csv", **fields) -> bytes:
    """A call that failed."""
    return call(second, "exec", wanted, None, **({"status": "error", "error": {"message": said}} | fields))


def test_an_action_that_fails_six_times_in_a_row_in_one_way_is_failing_whatever_it_is_given():
    """Reworded arguments evade no detector."""
    [found] = findings(*(failed(n, f"cat report.csv | head -{n}") for n in range(9)))
    assert (found["at"], found["evidence"]) == (
        "2026-03-18T09:00:05.000Z", {"loop": "failing", "action": "exec", "times": 6}
    )  # fmt: skip
    assert loops(*(failed(n, str(n)) for n in range(5))) == []


@pytest.mark.parametrize("empty", ["", {}, None, False, []])
def test_an_empty_error_beside_what_was_printed_hides_nothing(empty):
    """As of a shell whose wrapper always writes the key."""
    said = {"error": empty, "stderr": "cat: report.csv: No such file or directory"}
    assert loops(*(call(n, "exec", f"cat report.csv | head -{n}", said, status="error") for n in range(6))) == [
        "failing"
    ]


@pytest.mark.parametrize(("wanted", "said"), [
    ("make {}", "Command 'make {}' returned non-zero exit status 2."),
    (["make", "{}"], "Command '['make', '{}']' failed"),
    ("/srv/{}/in.csv", "relation public.{} does not exist"),
    ("x", "took 98{n} ms"),
    ("x", "took 1,00{n} ms"),
])  # fmt: skip
def test_a_failure_that_repeats_its_input_is_alike_whatever_the_input(wanted, said):
    """The words of the input say what was tried, not how it failed."""
    targets = ["docs", "all", "release", "clean", "check", "install"]

    def filled(text, n: int):
        return (
            text.replace("{}", targets[n]).replace("{n}", str(n))
            if isinstance(text, str)
            else [filled(one, n) for one in text]
        )

    lines = [call(n, "exec", [n, filled(wanted, n)], None, status="error", error=filled(said, n)) for n in range(6)]
    assert loops(*lines) == ["failing"]


def test_failures_are_alike_over_other_words_for_error_and_thousands_and_encoded_ids():
    """A word for the status, a mark between thousands and base64 are no other failure."""
    statuses = ["error", "failed", "FAILURE", "exception", "Failed", "fatal"]
    assert loops(*(failed(n, str(n), status=status) for n, status in enumerate(statuses))) == ["failing"]
    for numbers in (("980", "1,002"), ("980", "1 002"), ("980", "1.002"), ("980", "1'002"), ("980", "1_002")):
        assert loops(*(failed(n, str(n), f"took {numbers[n % 2]} ms") for n in range(6))) == ["failing"]
    rng = random.Random(7)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for size in (24, 48, 57):
            hosts = [encode(rng.randbytes(size)).decode() for _ in range(6)]
            assert loops(*(failed(n, str(n), f"denied, HostID: {host}, api") for n, host in enumerate(hosts))) == [
                "failing"
            ]


def test_a_path_is_not_taken_for_something_encoded():
    """Another file that is not there is another failure, in whatever case its name is written."""
    paths = [
        f"/Users/Ann/Projects/WebApp2/src/{name}View" for name in ("User", "Order", "Home", "Cart", "Login", "Item")
    ]
    assert loops(*(failed(n, str(n), f"{path} is broken") for n, path in enumerate(paths))) == []


def test_calls_of_a_model_between_the_failures_hide_nothing():
    """Real runs put one before each call of a tool."""
    lines = [text for n in range(6) for text in (failed(n, str(n)), call(n + 0.5, "llm_call", str(n), str(n)))]
    assert loops(*lines) == ["failing"]


@pytest.mark.parametrize(
    "between",
    [
        call(4.5, "exec", "ls", "report.txt"),
        call(4.5, "search", "report", "report.txt"),
        failed(4.5, "ls", "access denied"),
        call(4.5, "exec", "x", None, status="error"),
    ],
)
def test_a_success_another_tool_or_another_failure_begins_the_count_anew(between):
    """The agent tries something else."""
    assert loops(*(failed(n, str(n)) for n in range(5)), between, *(failed(n, str(n)) for n in range(5, 10))) == []


def test_a_model_that_fails_again_and_again_is_failing():
    """With ever new prompts."""
    said = {"status": "error", "error": {"type": "RateLimitError", "message": "slow down"}}
    assert loops(*(call(n, "llm_call", str(n), None, **said) for n in range(6))) == ["failing"]


def test_a_repeat_that_fails_is_found_once():
    """As a repeat."""
    assert loops(*(failed(n, "cat report.csv") for n in range(9))) == ["repeat"]


def test_polling_actions_may_fail_again_and_again():
    """By config."""
    assert loops(*(failed(n, str(n)) for n in range(9)), config="detectors: {loop: {polling_actions: [exec]}}") == []


# --- stalled -------------------------------------------------------------------------------------------------------


def look(second: float, answer: str) -> bytes:
    """A look at a job."""
    return call(second, "job_status", "j1", answer)


def test_twenty_like_looks_whose_answers_differ_in_numbers_only_are_stalled():
    """An elapsed time, or a process id."""
    [found] = findings(*(look(n, f"running for {n * 7} s, pid {4_000 + n * n}") for n in range(25)))
    assert found["evidence"] == {"loop": "stalled", "action": "job_status", "times": 20}
    assert loops(*(look(n, f"running for {n * 7} s") for n in range(19))) == []


@pytest.mark.parametrize(
    "other",
    [look(10.5, "step two: running for 60 s"), call(10.5, "job_status", "j2", "running for 60 s"), call(10.5, "log")],
)
def test_another_word_another_input_or_another_tool_is_progress(other):
    """Only numbers may differ."""
    lines = [*(look(n, f"running for {n} s") for n in range(11)), other]
    assert loops(*lines, *(look(n, f"running for {n} s") for n in range(11, 30))) == []


@pytest.mark.parametrize("answer", [
    lambda n: f"drift {(-1) ** n * 0.5} after 1e-{n}",
    lambda n: f"{990 + n * 5:,} rows, {n * 0.25} s",
    lambda n: {"delta": (-1) ** n * 3.5, "size": 10.0 ** -n},
    lambda n: [n, -n, n * 0.5],
])  # fmt: skip
def test_a_number_may_have_a_sign_an_exponent_and_thousands(answer):
    """Within a text or by itself."""
    assert loops(*(look(n, answer(n)) for n in range(20))) == ["stalled"]


@pytest.mark.parametrize("answer", [
    lambda n: [*range(n)],
    lambda n: {"rows": [100 + k for k in range(n)]},
    lambda n: " ".join(map(str, range(n))),
])  # fmt: skip
def test_an_answer_that_grows_is_progress(answer):
    """Though nothing in it is but numbers."""
    assert loops(*(look(n, answer(n)) for n in range(30))) == []


def test_pages_of_a_list_are_no_stall():
    """The number in an input says which page."""
    assert loops(*(call(n, "list", f"page {n}", f"{n * 20} items") for n in range(40))) == []


def test_a_stall_is_found_over_restarts_too():
    """What is compared is kept as hashes."""
    exporter = Exporter()
    for n in range(20):
        exporter.read(look(n * 4, f"running for {n} s"))
        exporter.pipeline.commit()
        exporter.restart()
    assert [found["evidence"]["loop"] for found in exporter.findings()] == ["stalled"]


# --- lines that stand twice ----------------------------------------------------------------------------------------


def twice(*lines: bytes) -> list[bytes]:
    """Each line written twice, as by a logger with two handlers."""
    return [text for line_ in lines for text in (line_, line_)]


@pytest.mark.parametrize("commit", [False, True])
def test_a_line_that_stands_twice_is_counted_twice_and_is_no_evidence(commit):
    """Three equal calls, and 36,000 tokens, whose lines reach the file twice."""
    calls = [call(n + 0.25, duration_ms=n, tokens={"prompt": 12_000}) for n in range(3)]
    exporter = Exporter()
    for text in twice(*calls):
        exporter.read(text)
        if commit:
            exporter.pipeline.commit()
            exporter.restart()
    assert exporter.findings() == []
    tally = exporter.stages.tally
    assert [day.tokens for day in tally.agents["a"].cell.days.values()] == [36_000]
    assert {model.prompt for model in tally.agents["a"].models.values()} == {72_000}
    assert (tally.sources["test"].accepted, tally.sources["test"].repeated) == (6, 3)


def test_equal_lines_with_times_of_whole_seconds_are_different_calls():
    """A tight loop, logged by something that has no fractions."""
    calls = [call(n, tokens={"prompt": 12_000}) for n in range(3)]
    assert [found["kind"] for found in findings(*twice(*calls))] == ["loop", "session_budget"]


@pytest.mark.parametrize("commit", [False, True])
def test_a_logger_writes_a_line_three_times_at_most_and_a_loop_many_times(commit):
    """Twenty calls within a millisecond: two of their lines may be copies, the others are work."""
    exporter = Exporter()
    for _ in range(20):
        exporter.read(call(0.25, duration_ms=7, tokens={"prompt": 3_000}))
        if commit:
            exporter.pipeline.commit()
            exporter.restart()
    [loop, budget] = sorted(exporter.findings(), key=lambda found: found["kind"])
    assert (loop["evidence"]["loop"], budget["evidence"]["tokens"]) == ("repeat", 51_000)
    assert exporter.stages.tally.sources["test"].repeated == 2


def test_a_time_in_tenths_of_a_second_does_not_show_that_a_line_was_written_twice():
    """Two calls may end in the same tenth; a time that is written in milliseconds may be a round one."""
    spent = {"timestamp": "2026-03-18T09:00:00.5Z", "tokens": {"prompt": 12_000}}
    assert [found["kind"] for found in findings(*[call(0, **spent)] * 5)] == ["loop", "session_budget"]
    spent["timestamp"] = "2026-03-18T09:00:00.500Z"
    assert findings(*[call(0, **spent)] * 3) == []


def test_calls_of_one_millisecond_that_differ_are_different_calls():
    """By what they took, or gave."""
    lines = [call(0.25, duration_ms=n, tokens={"prompt": 10}) for n in range(4)]
    assert loops(*lines) == ["repeat"]
