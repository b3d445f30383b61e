"""`docker compose up` on a real engine: a fleet that misbehaves is caught, and each service is killed in turn.

Run by `make test-stack`. Services of which no image is at hand are left out, and named at the end of the run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from boards import MAYBE_WITHOUT_DATA, NOT_ASKED, targets
from running import ROOT, eventually

pytestmark = pytest.mark.stack
PROJECT = "agent-stack-test"
BUILT = "agent-exporter:0.1.0"
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ALERTS = {"loop": "AgentLoop", "budget": "AgentSessionOverBudget", "silent": "AgentSilent", "cascade": "AgentCascade"}
PUBLISHED = {"3000": "grafana", "9090": "prometheus", "10777": "exporter"}
"""Whose ports an alert's links name; the test has them published at others."""
BACK = 60.0
"""Seconds within which a killed service has to be well again."""


class Stack:
    """The compose file with the test's own over it, under a name of its own."""

    def __init__(self, config: Path) -> None:
        config.write_text(yaml.safe_dump(enforcing()))
        config.chmod(0o644)
        self.environment = {"DEMO_FAULTS": " ".join(ALERTS), "STACK_CONFIG": str(config)}
        self.sent: list[dict] = []
        """Lines that the test has sent itself."""
        images = {name: service["image"] for name, service in SERVICES.items()}
        self.services = [name for name, image in images.items() if image == BUILT or self.has(image)]
        self.missing = sorted(set(images) - set(self.services))

    @staticmethod
    def has(image: str) -> bool:
        return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "-p", PROJECT, "-f", "docker-compose.yml", "-f", "tests/stack/compose.yml",
             "--profile", "demo", *arguments],
            cwd=ROOT, env=os.environ | self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr[-3000:]
        return done.stdout

    def up(self) -> None:
        self.compose("build", "secrets")
        # As a person would who fills in a secret: an address for Slack, which is the test's.
        self.compose("run", "--rm", "secrets")
        self.compose(
            "run", "--rm", "--entrypoint", "sh", "secrets", "-c",
            "for name in slack_url watchdog_url; do echo http://receiver:8080/$name > /var/lib/agent-exporter/$name; done",
        )  # fmt: skip
        self.compose("up", "-d", "--wait", "--wait-timeout", "120", "receiver", "lengthy", *self.services)

    def inspect(self, service: str) -> dict:
        container = self.compose("ps", "-a", "-q", service).strip()
        return json.loads(subprocess.run(["docker", "inspect", container], capture_output=True, check=True).stdout)[0]

    def get(self, service: str, port: int, path: str, **query: str) -> object:
        """An answer of a server's API, or None while it has none."""
        address = self.compose("port", service, str(port), check=False).strip()
        url = f"http://{address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
        return None

    def open(self, url: str) -> str:
        """A page that an alert links to, as a person's browser would get it who knows the passwords."""
        parts = urllib.parse.urlsplit(url)
        service = PUBLISHED[str(parts.port)]
        address = self.compose("port", service, str(parts.port)).strip()
        secret = {"exporter": "token", "grafana": "grafana_password"}.get(service)
        headers = {}
        if secret:
            password = self.compose("exec", "-T", service, "cat", f"/run/stack-secrets/{secret}").strip()
            headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        request = urllib.request.Request(parts._replace(netloc=address).geturl(), headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def send(self, line: dict, **resource: str) -> None:
        """A line by OTLP, as an agent that cannot log to stdout, which says of its container what it likes."""
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in resource.items()]
        scope = {"logRecords": [{"body": {"stringValue": json.dumps(line)}}]}
        body = {"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": [scope]}]}
        address = self.compose("port", "otel-collector", "4318").strip()
        request = urllib.request.Request(
            f"http://{address}/v1/logs", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()
        self.sent.append(line)

    def prometheus(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        answer = self.get("prometheus", 9090, "/api/v1/query", query=query)
        rows = answer["data"]["result"] if answer else []
        return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in rows}

    def number(self, query: str) -> float:
        return sum(self.prometheus(query).values())

    def loki(self, query: str) -> list[dict]:
        answer = self.get("loki", 3100, "/loki/api/v1/query_range", query=query, limit="1000", since="1h")
        return answer["data"]["result"] if answer else []

    def spans(self) -> dict[str, dict[str, str]]:
        return self.get("receiver", 8080, "/spans") or {}

    def printed(self, service: str) -> list[dict]:
        """All that a container has printed as an agent, out of Docker's own file, which cuts lines at 16 KiB."""
        rows = [json.loads(row) for row in Path(self.inspect(service)["LogPath"]).read_text().splitlines()]
        text = "".join(row["log"] for row in rows if row["stream"] == "stdout")
        return [json.loads(row) for row in text.splitlines() if row.startswith("{")]

    def lines(self) -> list[dict]:
        """All that the fleet and the others have said."""
        return [*self.printed("demo"), *self.printed("lengthy"), *self.sent]

    def crash(self, service: str) -> None:
        """SIGKILL from outside, as the kernel does it: Docker is not told, and has to notice."""
        os.kill(self.inspect(service)["State"]["Pid"], signal.SIGKILL)

    def well(self, service: str, since: datetime | None = None) -> bool:
        state = self.inspect(service)["State"]
        started = datetime.fromisoformat(state["StartedAt"].rstrip("Z")[:26]).replace(tzinfo=UTC)
        if service == "otel-collector":
            return state["Running"] and (since is None or started > since)
        return state.get("Health", {}).get("Status") == "healthy" and (since is None or started > since)


def enforcing() -> dict:
    """The exporter's config with what docs/stack.md says of health checks and of the circuit breaker."""
    config = yaml.safe_load((ROOT / "docker/stack.yaml").read_text())
    said = re.search(r"<!-- demo -->\n```yaml\n(.*?)```", (ROOT / "docs/stack.md").read_text(), re.DOTALL)
    added = yaml.safe_load(said[1])
    for name, agent in added.pop("agents").items():
        config["agents"][name] = config["agents"].pop(name.replace("01", "0[1]")) | agent
    return config | added


@pytest.fixture(scope="module")
def stack(request, tmp_path_factory):
    """Up and well; gone afterwards, volumes and all."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail("no Docker engine answers")
        pytest.skip("NO DOCKER ENGINE ANSWERS: the stack is not tested")
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: Docker's log files cannot be counted, nor its processes killed")
    stack = Stack(tmp_path_factory.mktemp("config") / "stack.yaml")
    try:
        stack.up()
        print(f"\nleft out, as no image is at hand: {', '.join(stack.missing) or 'nothing'}")
        yield stack
    finally:
        if request.session.testsfailed:
            print(stack.compose("logs", "--tail", "15", check=False)[-20000:])
        stack.compose("down", "--volumes", "--timeout", "5", check=False)


def test_every_service_is_well_and_scraped(stack):
    """And none but those of which no image is at hand is missed."""
    jobs = {"agent-exporter", "alertmanager", "loki", "otel-collector", "prometheus", "tempo", "grafana"}
    absent = {job for job in jobs if job in stack.missing}
    eventually(
        lambda: {dict(labels)["job"] for labels, up in stack.prometheus("up").items() if up == 1} == jobs - absent,
        within=60, every=1,
    )  # fmt: skip


@pytest.mark.parametrize("fault", ALERTS)
def test_a_fault_of_the_fleet_becomes_an_alert(stack, fault):
    """Evaluated by Prometheus on what the exporter counted."""
    query = f'ALERTS{{alertname="{ALERTS[fault]}", alertstate="firing"}}'
    eventually(lambda: stack.prometheus(query), within=150, every=2)


def test_a_critical_alert_reaches_its_receiver(stack):
    """With its runbook and its words, by the address that was filled in."""
    pages = eventually(
        lambda: [page for page in stack.get("receiver", 8080, "/pages") or [] if "agents-critical" in page],
        within=150, every=2,
    )  # fmt: skip
    assert "/runbooks/" in pages[0] or "/user/" in pages[0]


def test_the_page_leads_to_the_runbook_the_board_the_trace_and_the_lines(stack):
    """What a person does who is woken by it: nothing but the links of the page, and the id that each place gives."""
    pages = eventually(
        lambda: [page for page in stack.get("receiver", 8080, "/pages") or [] if "AgentLoop: support-01" in page],
        within=150, every=2,
    )  # fmt: skip
    text = json.loads(pages[0])["attachments"][0]["text"]
    runbook, board, status = re.search(r"Do: (\S+)\nSee: (\S+) or (\S+)", text).groups()

    assert stack.open(runbook) == (ROOT / "docs/runbooks/AgentLoop.md").read_text()

    where = urllib.parse.urlsplit(board)
    uid = where.path.removeprefix("/d/")
    shown = json.loads((ROOT / f"dashboards/json/{uid}.json").read_text())
    [(variable, agent)] = urllib.parse.parse_qsl(where.query)
    assert variable.removeprefix("var-") in {one["name"] for one in shown["templating"]["list"]}
    if "grafana" not in stack.missing:
        assert json.loads(stack.open(f"http://127.0.0.1:3000/api/dashboards/uid/{uid}"))["dashboard"]["uid"] == uid

    findings = eventually(
        lambda: [
            json.loads(row)
            for stream in stack.loki(f'{{service_name="agent-exporter"}} | agent_id="{agent}"')
            for _, row in stream["values"]
        ],
        within=30, every=1,
    )  # fmt: skip
    [trace] = {finding["trace_id"] for finding in findings if finding["kind"] == "loop"}
    assert f"/traces/{trace}" in stack.open(status)

    if "tempo" not in stack.missing:
        found = eventually(lambda: stack.get("tempo", 3200, f"/api/traces/{trace}"), within=60, every=1)
        names = re.findall(r'"name": ?"([^"]+)"', json.dumps(found))
        assert {f"invoke_agent {agent}", "finding loop"} <= set(names)
    rows = [
        json.loads(row)
        for stream in stack.loki(f'{{service_name="agents"}} | trace_id="{trace}"')
        for _, row in stream["values"]
    ]
    assert sum(row["action"] == "search_tickets" for row in rows) >= 4


def test_a_line_that_docker_cut_arrives_whole_at_the_exporter_and_in_loki(stack):
    """Docker's pieces have 16 KiB, and what goes to stderr meanwhile is no part of them."""
    said = stack.printed("lengthy")
    assert len(said) == 4
    assert max(len(json.dumps(line)) for line in said) > 300_000
    found = eventually(
        lambda: len(rows := [row for stream in stack.loki('{service_name="agents"} | session_id="lengthy"')
                             for _, row in stream["values"]]) == 4 and rows,
        within=60, every=1,
    )  # fmt: skip
    in_order = sorted((json.loads(row) for row in found), key=lambda line: line["timestamp"])
    assert in_order == said
    prompts = 'agent_tokens_total{agent_id="lengthy-01", token_type="prompt"}'
    expected = sum(line["tokens"]["prompt"] for line in said)
    eventually(lambda: stack.number(prompts) == expected, within=60, every=1)


def test_an_agent_may_send_its_lines_by_otlp_but_not_say_who_it_is(stack):
    """Both have its line, and what it claims of its container is gone: nobody is stopped by its word."""
    name = stack.inspect("demo")["Name"].removeprefix("/")
    line = {
        "timestamp": datetime.now(UTC).isoformat(),
        "agent_id": "support-01",
        "session_id": "forged",
        "action": "llm_call",
        "status": "success",
        "tokens": {"prompt": 90_000, "completion": 1},
        "metadata": {"task_type": "support"},
    }
    stack.send(
        line, **{"container.name": name, "k8s.pod.name": name, "log.file.path": "/var/log/x", "service.name": "x"}
    )
    [stream] = eventually(lambda: stack.loki('{service_name="agents"} | session_id="forged"'), within=60, every=1)
    assert json.loads(stream["values"][0][1]) == line
    assert [key for key in stream["stream"] if re.match("container|k8s|log_", key)] == []
    # The finding is there, so the exporter has decided; and what it has decided is in its audit log.
    eventually(lambda: stack.loki('{service_name="agent-exporter"} | session_id="forged"'), within=60, every=1)
    audit = stack.compose("exec", "-T", "exporter", "cat", "/var/lib/agent-exporter/audit.ndjson")
    steps = [json.loads(row) for row in audit.splitlines()]
    assert {step["event"] for step in steps if step["session_id"] == "forged"} <= {"observed"}


def test_the_breaker_stops_a_container_that_loops_and_can_be_asked(stack):
    """As docs/stack.md switches it on: over HTTP, with its log and its socket in the exporter's volume."""
    stopped = 'agent_terminations_total{agent_id="support-01", result="confirmed"}'
    eventually(lambda: stack.number(stopped) >= 1, within=150, every=2)
    config = ("--config", "/etc/agent-exporter/config.yaml")
    status = stack.compose("exec", "-T", "exporter", "agent-exporter", "breaker", "status", *config)
    assert "enforcing" in status
    assert re.search(r"confirmed .* support-01 .* loop", status)
    log = re.search("audit log: (.*)", status)[1]
    assert "the chain is sound" in stack.compose("exec", "-T", "exporter", "agent-exporter", "breaker", "verify", log)


def test_health_checks_reach_an_agent_in_its_container(stack):
    """All four, by the name of its service."""
    passed = 'agent_health_check_success{agent_id="support-01"} == 1'
    checks = {"liveness", "memory_access", "model_connectivity", "reasoning_quality"}
    eventually(lambda: {dict(one)["check"] for one in stack.prometheus(passed)} == checks, within=60, every=2)


def test_a_line_is_found_in_loki_by_its_trace_and_its_trace_is_one_tree(stack):
    """The same id on both sides; one root, and every span has its parent."""
    ended = eventually(lambda: [span for span in stack.spans().values() if span["name"] == "invoke_agent planner-01"
                                and not span["parent"]], within=120, every=2)  # fmt: skip
    trace = ended[0]["trace"]

    def tree() -> bool:
        spans = {span["id"]: span for span in stack.spans().values() if span["trace"] == trace}
        roots = [span for span in spans.values() if not span["parent"]]
        return len(roots) == 1 and all(span["parent"] in spans for span in spans.values() if span["parent"])

    eventually(tree, within=60, every=1)
    found = eventually(lambda: stack.loki(f'{{service_name="agents"}} | trace_id="{trace}"'), within=30, every=1)
    assert any(json.loads(text)["agent_id"] == "planner-01" for stream in found for _, text in stream["values"])


def test_loki_tells_prometheus_how_many_lines_it_has(stack):
    """By its ruler: what the pipe's alert is held against."""
    eventually(lambda: stack.prometheus("agent:loki_lines:count5m"), within=120, every=2)


def test_the_service_graph_has_the_handovers(stack):
    """Tempo's generator pairs them, those that failed among them, and writes to Prometheus as Grafana's menu needs it."""
    if "tempo" in stack.missing:
        pytest.skip("NO IMAGE OF TEMPO IS AT HAND")
    edge = 'client="planner-01", server="researcher-01", connection_type="messaging_system"'
    for metric in ("traces_service_graph_request_total", "traces_service_graph_request_failed_total"):
        eventually(lambda metric=metric: stack.prometheus(f"{metric}{{{edge}}}"), within=120, every=2)


def test_every_panel_of_every_board_has_data(stack):
    """Or a reason why not: then it is asked, and may have none."""
    asked = {
        name: target
        for name, target in targets(agent_id="support-01", team=".*").items()
        # The trace is walked to above.
        if name not in NOT_ASKED and target.get("query") != "$trace_id"
    }

    def answers(target: dict) -> bool:
        source, text = target["datasource"]["uid"], target["text"]
        if source == "prometheus":  # to which Tempo writes as well
            return bool(stack.prometheus(text)) or ("traces_s" in text and "tempo" in stack.missing)
        if source == "tempo":
            found = stack.get("tempo", 3200, "/api/search", q=text, limit="1")
            return bool(found and found.get("traces")) or "tempo" in stack.missing
        if target["queryType"] == "instant":
            found = stack.get("loki", 3100, "/loki/api/v1/query", query=text)
            return bool(found and found["data"]["result"])
        return bool(stack.loki(text))

    def unanswered() -> list[str]:
        for name in [name for name, target in asked.items() if answers(target)]:
            del asked[name]
        return sorted(asked)

    eventually(lambda: not {*unanswered()} - MAYBE_WITHOUT_DATA.keys() or print(unanswered()), within=90, every=5)


def test_each_service_is_killed_under_load_and_nothing_is_lost(stack):
    """Back within a minute; then the fleet stops, and every line and every span of it is counted, to the unit."""
    times = {}
    for service in stack.services:
        if service in {"secrets", "demo"}:
            continue
        since = datetime.now().astimezone()
        began = time.monotonic()
        stack.crash(service)
        eventually(lambda: stack.well(service, since), within=BACK, every=0.5)  # noqa: B023
        times[service] = round(time.monotonic() - began, 1)
    eventually(lambda: stack.well("collector-health"), within=BACK)
    print(f"\nwell again after seconds: {times}")

    stack.compose("stop", "demo")
    lines = stack.lines()
    work = [line for line in lines if line["action"] != "heartbeat"]
    assert len(work) > 500
    assert len(stack.sent) > 0

    def read() -> dict[str, float]:
        return {
            name: stack.number(f"agent_exporter_lines_{name}_total") for name in ("accepted", "rejected", "ignored")
        }

    printed = stack.compose("logs", "--no-log-prefix", "exporter").splitlines()
    findings = sum(
        line.startswith('{"kind":') for line in printed
    )  # of the exporter itself, among the containers' logs
    expected = {"accepted": len(lines), "rejected": 0, "ignored": findings}
    eventually(lambda: read() == expected or print(read(), expected), within=90, every=5)
    counted = stack.prometheus("sum by (agent_id) (agent_actions_total)")
    assert {dict(labels)["agent_id"]: count for labels, count in counted.items()} == Counter(
        line["agent_id"] for line in work
    )

    def in_loki() -> int:
        answer = stack.get(
            "loki", 3100, "/loki/api/v1/query", query='sum(count_over_time({service_name="agents"}[1h]))'
        )
        return int(answer["data"]["result"][0]["value"][1]) if answer and answer["data"]["result"] else 0

    eventually(lambda: in_loki() == len(lines) or print("loki", in_loki(), len(lines)), within=90, every=2)

    def actions() -> int:
        return sum(span["name"].startswith(("chat", "execute_tool")) for span in stack.spans().values())

    eventually(lambda: actions() == len(work) or print("spans", actions(), len(work)), within=90, every=2)
    assert stack.number("agent_exporter_spans_dropped_total") == 0
