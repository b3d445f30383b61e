"""Health checks: what an agent is asked, which answers pass, and when it is asked again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import signal
import socket
import threading
import time

import pytest
from running import Running, eventually
from standin import Agent, arithmetic, said
from virtual import VirtualLoop

from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.config.values import JMESPath
from agent_exporter.probes.check import Result, perform, verdict
from agent_exporter.probes.endpoint import MAX_BODY, Answer, RequestError
from agent_exporter.probes.prober import AGAIN, MAX_AT_ONCE, SOON, Prober
from agent_exporter.probes.settings import CHECKS, checks_of
from agent_exporter.probes.timers import JITTER


def config_of(agent: Agent, more: str = "", **keys):
    """A config with one agent."""
    return parse(json.dumps({"agents": {"a": {"endpoint": agent.url, **keys}}})[:-1] + f"{',' if more else ''}{more}}}")


def run(config, name: str = "a") -> dict[str, Result]:
    """All checks of an agent, once."""
    return {check.name: asyncio.run(perform(check)) for check in checks_of(config, name)}


def reasons(config) -> dict[str, str | None]:
    """Why each does not pass."""
    return {name: result.why for name, result in run(config).items()}


# --- what is asked, and what passes --------------------------------------------------------------------------------


def test_the_articles_four_checks_are_what_an_agent_is_asked():
    """Method, path and body; and a healthy agent passes them."""
    with Agent() as agent:
        assert reasons(config_of(agent)) == dict.fromkeys(CHECKS)
        asked = [(method, path, body) for method, path, _, body in agent.requests]
    question = asked[2][2].pop("prompt")
    assert asked == [
        ("GET", "/health", None),
        ("POST", "/v1/test", {"prompt": "Reply with exactly: OK", "max_tokens": 10}),
        ("POST", "/v1/test", {"max_tokens": 20}),
        ("GET", "/v1/memory/status", None),
    ]
    assert re.fullmatch(r"What is [1-9]\d\d \+ [1-9]\d\d\?", question)


def test_the_sum_is_another_each_time():
    """No cache knows it."""
    with Agent() as agent:
        config = config_of(agent, health_checks=["reasoning_quality"])
        for _ in range(5):
            assert reasons(config) == {"reasoning_quality": None}
        assert len({body["prompt"] for *_, body in agent.requests}) > 1


def test_durations_are_measured():
    """In seconds, of the exchange."""
    with Agent() as agent:
        results = run(config_of(agent))
    assert all(0 < result.seconds < 5 for result in results.values())


@pytest.mark.parametrize(
    ("check", "path", "answer", "why"),
    [
        ("liveness", "/health", (500, {}, b""), "HTTP status 500, not 200"),
        ("liveness", "/health", (204, {}, b""), "HTTP status 204, not 200"),
        ("liveness", "/health", (200, {}, b"x" * (MAX_BODY + 1)), "no answer: closed too early, longer than 64 KiB, or no HTTP"),
        ("model_connectivity", "/v1/test", said({"response": "ok!"}), None),
        ("model_connectivity", "/v1/test", said({"response": "**OK**"}), None),
        ("model_connectivity", "/v1/test", said({"response": "invalid TOKEN"}), r"the answer does not match '(?i)\bok\b': 'invalid TOKEN'"),
        ("model_connectivity", "/v1/test", said({"response": ""}), r"the answer does not match '(?i)\bok\b': ''"),
        ("model_connectivity", "/v1/test", said({"error": "quota"}), "the answer has no response: '{\"error\": \"quota\"}'"),
        ("model_connectivity", "/v1/test", said(["OK"]), "the answer has no response: '[\"OK\"]'"),
        ("model_connectivity", "/v1/test", (200, {}, b"OK"), "the answer is not JSON: 'OK'"),
        ("model_connectivity", "/v1/test", (200, {}, b"\xff\x1b[2Jred\n"), "the answer is not JSON: '\ufffd[2Jred'"),
        ("model_connectivity", "/v1/test", (200, {}, b"[" * 60_000), f"the answer is not JSON: '{'[' * 80}...'"),
        ("memory_access", "/v1/memory/status", said({"connected": False}), "the answer is not exactly 'true': 'false'"),
        ("memory_access", "/v1/memory/status", said({"connected": 1}), "the answer is not exactly 'true': '1'"),
        ("memory_access", "/v1/memory/status", said({"connected": "true"}), "the answer is not exactly 'true': 'true'"),
        ("memory_access", "/v1/memory/status", said({}), "the answer has no connected: '{}'"),
        ("memory_access", "/v1/memory/status", said({"connected": True}, 503), "HTTP status 503, not 200"),
    ],
)  # fmt: skip
def test_an_answer_passes_or_says_why_not(check, path, answer, why):
    """On one line, short, and without what steers a terminal."""
    with Agent() as agent:
        agent.answers[path] = answer
        assert reasons(config_of(agent, health_checks=[check])) == {check: why}


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (arithmetic, True),
        (lambda prompt: f"{prompt[8:-1]} = {arithmetic(prompt).strip('*.')}.", True),
        (lambda prompt: f"{arithmetic(prompt).strip('*.')}0", False),
        (lambda prompt: f"1{arithmetic(prompt).strip('*.').zfill(4)}", False),
        (lambda prompt: prompt, False),
        (lambda _: "512", False),
    ],
    ids=["right", "with its sum", "with a nought more", "with a digit before", "an echo", "learnt by heart"],
)
def test_a_wrong_sum_does_not_pass(answer, passes):
    """Nor does the question."""
    with Agent(answer) as agent:
        assert run(config_of(agent, health_checks=["reasoning_quality"]))["reasoning_quality"].passed is passes


def test_a_custom_check_has_a_request_and_expectations_of_its_own():
    """All that is given has to hold; a sum may be asked for in it, too."""
    checks = """"health_checks": {
        "quota": {"path": "/v1/quota?of=me", "status": 202, "jmespath": "quotas[?name=='day'].left | [0]", "expect": {"number": 90, "tolerance": 10}},
        "sum": {"path": "/chat", "body": {"messages": [{"content": "Add: {sum}"}]}, "jmespath": "choices[0].text", "expect": {"regex": "^[0-9]+$"}},
        "page": {"path": "/page", "expect": {"contains": "welcome"}}}"""  # fmt: skip
    with Agent() as agent:
        agent.answers["/v1/quota?of=me"] = said({"quotas": [{"name": "day", "left": 95}]}, 202)
        agent.answers["/chat"] = lambda body: said(
            {"choices": [{"text": arithmetic(body["messages"][0]["content"]).strip("*.").replace(",", "")}]}
        )
        agent.answers["/page"] = (200, {}, b"<h1>not found</h1>")
        config = config_of(agent, checks, health_checks=["quota", "sum", "page"])
        assert reasons(config) == {
            "quota": None,
            "sum": None,
            "page": "the answer does not contain 'welcome': '<h1>not found</h1>'",
        }


def test_what_the_config_leaves_out_of_a_known_check_is_as_it_was():
    """Its path alone is another."""
    with Agent() as agent:
        agent.answers = {"/health": (404, {}, b""), "/healthz": (200, {}, b"")}
        more = '"health_checks": {"liveness": {"path": "/healthz"}}'
        assert reasons(config_of(agent, more)) == dict.fromkeys(CHECKS)


def test_redirects_are_not_followed():
    """Only addresses of the config are called."""
    with Agent() as agent, Agent() as other:
        agent.answers["/health"] = (302, {"Location": f"{other.url}/health"}, b"")
        assert reasons(config_of(agent, health_checks=["liveness"])) == {"liveness": "HTTP status 302, not 200"}
        assert other.requests == []


HEAD = b"HTTP/1.1 200 OK\r\n"


def dripping(connection) -> None:
    """A byte now and then."""
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def endless(start: bytes, piece: bytes):
    """The same for ever."""

    def send(connection) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return send


@pytest.mark.parametrize(
    ("send", "why"),
    [
        (lambda connection: connection.sendall(b"SSH-2.0\r\n\r\n"), "closed too early, longer than 64 KiB, or no HTTP"),
        (lambda _: None, "closed too early, longer than 64 KiB, or no HTTP"),
        (endless(HEAD + b"\r\n", b"x" * 4096), "closed too early, longer than 64 KiB, or no HTTP"),
        (endless(HEAD, b"X: x\r\n" * 999), "closed too early, longer than 64 KiB, or no HTTP"),
        (endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n" * 99), "closed too early, longer than 64 KiB, or no HTTP"),
        (dripping, "not within 0.3 s"),
    ],
    ids=["no HTTP", "closed", "an endless body", "endless headers", "endless chunks", "a byte now and then"],
)  # fmt: skip
def test_whatever_an_agent_sends_the_check_ends_in_time(send, why):
    """And says what is wrong."""

    def serve(server) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                send(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        checks = f"health_checks: {{liveness: {{timeout: {'300ms' if send is dripping else '30s'}}}}}"
        config = parse(f"agents: {{a: {{endpoint: {url!r}, health_checks: [liveness]}}}}\n{checks}")
        assert reasons(config) == {"liveness": f"no answer: {why}"}
    thread.join(5)


@pytest.mark.parametrize(
    "expect",
    [{"exact": True}, {"exact": "x"}, {"json": {"a": 1}}, {"number": 5}, {"similar": "x"}, {"regex": "x"}],
    ids=str,
)
def test_no_answer_makes_judging_it_raise(expect):
    """However deep, long or odd its JSON is: an agent is not to get out of a check that way."""
    config = parse(f"health_checks: {{x: {{path: /, expect: {json.dumps(expect)}}}}}")
    bodies = [b'{"response":%s1%s}' % (begin * depth, end * depth)
              for begin, end in ((b"[", b"]"), (b'{"a":', b"}")) for depth in (10, 900, 980, 995, 1000, 9000)]  # fmt: skip
    bodies += [b'{"response": 1%s}' % (b"0" * length) for length in (25, 5000, 60_000)]
    bodies += [b'{"response": 1e99999}', b'{"response": "\\ud800"}', b'{"response": NaN}', b"null", b"", b"\xff\xfe"]
    bodies += [b'{"response": "1e9999 1e-9999"}', b'{"response": "%s"}' % (b"9" * 60_000)]
    for body in bodies:
        for path in (None, *map(JMESPath, ("response", "length(response)", "response[0]"))):
            assert isinstance(verdict(Answer(200, body, 0.1), 200, path, config.health_checks["x"].expect), str | None)


def test_an_agent_that_hangs_or_is_down_fails_in_time():
    """With the reason that the system gives."""
    with Agent() as agent:
        agent.answers["/health"] = Agent.HANG
        more = '"health_checks": {"liveness": {"timeout": "200ms"}}'
        config = config_of(agent, more, health_checks=["liveness"])
        result = run(config)["liveness"]
        assert result.why == "no answer: not within 0.2 s"
        assert 0.2 <= result.seconds < 2
    assert reasons(config) == {"liveness": "no answer: Connection refused"}


def test_a_token_comes_from_a_file_and_is_read_each_time(tmp_path):
    """A file that is not there says nothing of the agent."""
    path = tmp_path / "headers"
    with Agent() as agent:
        config = config_of(agent, health_checks=["liveness"], endpoint_headers_file=str(path))
        with pytest.raises(RequestError, match="headers: No such file or directory"):
            run(config)
        for token in ("one", "two"):
            path.write_text(f"Authorization: Bearer {token}\n")
            assert reasons(config) == {"liveness": None}
        assert [headers["Authorization"] for _, _, headers, _ in agent.requests] == ["Bearer one", "Bearer two"]


def test_a_retired_agent_and_one_without_an_endpoint_are_asked_nothing():
    """Nor is one whose list is empty."""
    config = parse(
        "agents: {a: {}, b: {endpoint: 'http://h', health_checks: []}, c: {endpoint: 'http://h', retired: true}}"
    )
    assert [checks_of(config, name) for name in config.names()] == [[], []]


# --- the command ---------------------------------------------------------------------------------------------------


def probe(capsys, tmp_path, agents: dict[str, Agent], *arguments: str) -> tuple[int, str]:
    """Exit code and output, with a config of these agents."""
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"agents": {name: {"endpoint": agent.url} for name, agent in agents.items()}}))
    code = command(["probe", "--config", str(path), *arguments])
    return code, capsys.readouterr().out


def test_probe_prints_the_articles_json_with_durations(capsys, tmp_path, golden):
    """Exit code 0 if all is well, 1 if not; one document for each agent."""
    with Agent() as well, Agent(lambda _: "5120") as degraded:
        degraded.answers["/v1/memory/status"] = said({"connected": False})
        assert probe(capsys, tmp_path, {"a": well})[0] == 0
        code, printed = probe(capsys, tmp_path, {"a": well, "b": degraded})
        assert code == 1
        assert probe(capsys, tmp_path, {"a": well, "b": degraded}, "a")[0] == 0
    printed = re.sub(r'(?<="timestamp": ")[0-9TZ:-]{20}(?=")', "2026-03-18T09:15:32Z", printed)
    printed = re.sub(r'(?<="duration_ms": )[0-9.]+', "1.5", printed)
    golden("probe.json", re.sub(r"the number \d+", "the number 512", printed))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no agent has both an endpoint and a check: agents.NAME.endpoint in the file of --config"),
        (["nobody"], "no agent 'nobody' under agents in the file of --config, or it is retired"),
    ],
)
def test_probe_without_anybody_to_ask_is_wrong_use(arguments, sentence, capsys):
    """Exit code 2."""
    assert command(["probe", *arguments]) == 2
    assert capsys.readouterr().err == f"agent-exporter: {sentence}\n"


# --- the schedule, in virtual time ---------------------------------------------------------------------------------


class Asked:
    """Stands in for `perform`: remembers when, and answers as told."""

    def __init__(self) -> None:
        self.at: list[tuple[float, str, str]] = []
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.under_way = self.most = 0

    async def __call__(self, check) -> Result:
        now = asyncio.get_running_loop().time()
        self.at.append((now, check.agent, check.name))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if check.agent in self.hanging:
                await asyncio.sleep(check.timeout)
        finally:
            self.under_way -= 1
        why = "no" if check.agent in self.failing | self.hanging else None
        return Result(check.agent, check.name, why is None, 0.0, now, check.interval, why)

    def times(self, agent: str, name: str) -> list[float]:
        return [at for at, *who in self.at if who == [agent, name]]


def in_virtual_time(work):
    """Run a coroutine of hours."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())


def agents(*names: str, checks=("liveness",), more: str = ""):
    """A config with these."""
    entries = ", ".join(f"{name}: {{endpoint: 'http://h', health_checks: [{', '.join(checks)}]}}" for name in names)
    return parse(f"agents: {{{entries}}}\n{more}")


def test_a_check_runs_every_minute_give_or_take_its_jitter():
    """For the first time within seconds."""
    asked = Asked()

    async def work() -> None:
        await Prober(asked).configure(agents("a"))
        await asyncio.sleep(3600)

    in_virtual_time(work)
    times = asked.times("a", "liveness")
    assert times[0] <= SOON
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(60 * (1 - JITTER) <= gap <= 60 * (1 + JITTER) for gap in gaps)
    assert len(set(gaps)) > 30


def test_a_check_with_a_longer_interval_is_repeated_each_minute_while_it_fails():
    """As the rules want three failures within 200 s, whatever the interval."""
    asked = Asked()
    asked.failing.add("a")

    async def work() -> None:
        config = agents("a", checks=["reasoning_quality"], more="health_checks: {reasoning_quality: {interval: 15m}}")
        await Prober(asked).configure(config)
        await asyncio.sleep(200)
        asked.failing.clear()
        await asyncio.sleep(3000)

    in_virtual_time(work)
    times = asked.times("a", "reasoning_quality")
    assert len([at for at in times if at < 200]) >= 3
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps[:4]) <= AGAIN * (1 + JITTER)
    assert min(gaps[4:]) >= 900 * (1 - JITTER)


def test_an_agent_that_hangs_delays_nobody():
    """Nor its own other checks; and requests are bounded."""
    names = [f"a{number}" for number in range(300)]
    asked = Asked()
    asked.hanging |= set(names[:200])

    async def work() -> None:
        await Prober(asked).configure(agents(*names))
        await asyncio.sleep(600)

    in_virtual_time(work)
    assert asked.most <= MAX_AT_ONCE
    assert min(len(asked.times(name, "liveness")) for name in names[200:]) >= 9


def test_more_requests_than_the_bound_wait_for_one_to_end():
    """Even if all hang."""
    names = [f"a{number}" for number in range(MAX_AT_ONCE + 50)]
    asked = Asked()
    asked.hanging |= set(names)

    async def work() -> None:
        await Prober(asked).configure(agents(*names))
        await asyncio.sleep(60)

    in_virtual_time(work)
    assert asked.most == MAX_AT_ONCE
    assert {agent for _, agent, _ in asked.at} == set(names)


def test_a_reload_leaves_alone_what_is_as_it_was():
    """What is gone has no result any more; what has changed begins anew."""
    asked = Asked()
    seen = []

    async def work() -> None:
        prober = Prober(asked)
        await prober.configure(agents("a", "b", "c"))
        await asyncio.sleep(30)
        asked.at.clear()
        await prober.configure(agents("a", "c", more="health_checks: {liveness: {interval: 2m}}"))
        seen.append(prober.results())
        await prober.configure(agents("a", "c", more="health_checks: {liveness: {interval: 2m}}"))
        await asyncio.sleep(10)
        seen.append(sorted((result.agent, result.interval) for result in prober.results()))

    in_virtual_time(work)
    assert seen == [[], [("a", 120), ("c", 120)]]
    assert sorted(agent for _, agent, _ in asked.at) == ["a", "c"]


def test_a_check_that_cannot_be_asked_keeps_its_last_result(caplog):
    """That it grows old is what is told; the log says why, once."""

    async def refuses(check):
        raise RequestError("headers: No such file or directory")

    async def breaks(check):
        raise RuntimeError("ours")

    for perform_once, said_once in (
        (refuses, "'a' cannot be asked for 'liveness': headers: No such"),
        (breaks, "ours"),
    ):
        caplog.clear()

        async def work(perform_once=perform_once) -> None:
            prober = Prober(perform_once)
            await prober.configure(agents("a"))
            await asyncio.sleep(200)
            assert prober.results() == []

        in_virtual_time(work)
        assert said_once in caplog.text


# --- in the running exporter ---------------------------------------------------------------------------------------


def checked(running: Running) -> dict[str, float]:
    """What /metrics says of each check."""
    samples = running.samples().get("agent_health_check_success", {})
    return {" ".join(dict(labels).values()): value for labels, value in samples.items()}


def test_run_shows_the_checks_and_a_reload_takes_them_away(tmp_path):
    """While an endpoint hangs; which does not delay the end either."""
    with Agent(lambda _: "no") as agent, Agent() as hanging:
        hanging.answers["/health"] = Agent.HANG
        path = tmp_path / "config.yaml"
        first = {
            "agents": {"a": {"endpoint": agent.url}, "b": {"endpoint": hanging.url, "health_checks": ["liveness"]}},
            "health_checks": {name: {"interval": "1s", "timeout": "1s"} for name in CHECKS},
        }
        path.write_text(json.dumps(first))
        with Running("--config", path) as running:
            wanted = {
                "a liveness": 1, "a model_connectivity": 0, "a reasoning_quality": 0, "a memory_access": 1, "b liveness": 0,
            }  # fmt: skip
            eventually(lambda: checked(running) == wanted)
            samples = running.samples()
            of_b = (("agent_id", "b"), ("check", "liveness"))
            assert samples["agent_health_check_interval_seconds"][of_b] == 1
            assert 1 <= samples["agent_health_check_duration_seconds"][of_b] < 5
            assert samples["agent_health_check_timestamp_seconds"][of_b] > 1_700_000_000
            del first["agents"]["a"]
            path.write_text(json.dumps(first))
            running.process.send_signal(signal.SIGHUP)
            eventually(lambda: set(checked(running)) == {"b liveness"})
            assert running.stop() == 0
            assert any("'b' fails 'liveness': no answer: not within 1 s" in row for row in running.log)
