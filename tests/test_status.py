"""The status page: what a person reads on it, and that no name from a log can do more than be read."""

from __future__ import annotations

import base64
import json
import re
import time
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
import yaml
from alerting import RULES
from conftest import LOGS, line, record
from running import Running
from test_metrics import HOSTILE, Lines

from agent_exporter import formatting
from agent_exporter.action import decode, trace_id_of
from agent_exporter.backtest.rules import seconds
from agent_exporter.benchmark.history import History
from agent_exporter.benchmark.run import Outcome, Report
from agent_exporter.config import parse
from agent_exporter.lines import Batch
from agent_exporter.metrics.cells import AgentCell, Baseline, Day, Mean
from agent_exporter.metrics.samples import AgentSettings
from agent_exporter.probes.check import Result
from agent_exporter.stage import Reading
from agent_exporter.stages import MIRRORED, Stages
from agent_exporter.state import MemoryStore
from agent_exporter.status import conditions, pages, recent
from agent_exporter.status.pages import Pages
from agent_exporter.status.recent import Recent
from agent_exporter.status.snapshot import take_snapshot
from agent_exporter.status.waterfall import parents, waterfall
from agent_exporter.thresholds import FRESH, UNSEEN

NOW = 1_773_825_392.0  # a minute after the sample line


class Reader(HTMLParser):
    """A page as a person without eyes for style gets it: rows of cells, links, all text. Fails on unclosed tags."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_startendtag(self, tag, _attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    reader.text = " ".join(reader.text.split())
    reader.rows = [[" ".join(cell.split()) for cell in row] for row in reader.rows]
    return reader


class Site:
    """A live exporter that has read some lines, and its pages at a time."""

    def __init__(self, *lines: bytes, config: str = "", now: float = NOW, problem: str | None = None) -> None:
        source = Lines(name="test")
        self.stages = Stages(parse(config), MemoryStore(MIRRORED), [source])
        self.stages.pipeline.clock = lambda: now
        self.stages.recent.since = 0.0
        self.stages.pipeline.feed(source, Batch(list(lines)))
        self.stages.pipeline.commit()
        self.now = now
        self.problem = problem
        self.checks = []
        self.pages = Pages(self.look)

    def look(self, agent, trace_id):
        live = self.stages.live(self.now, checks=self.checks)
        return take_snapshot(self.stages, live, self.problem, agent, trace_id)

    def __getitem__(self, path: str) -> Reader:
        return read(self.pages.render(path))


def test_the_fleet_shows_every_agent_and_every_source():
    """Those that want attention first, then the newest; numbers with units."""
    site = Site(
        line(
            timestamp="2026-03-18T09:16:12Z", duration_ms=10,
            tokens={"prompt": 1500, "cost_usd": 0.5}, metadata={"team": "research"},
        ),
        line(agent_id="b", timestamp="2026-03-18T09:16:02Z", status="error"),
        b'{"action": "x"}',
        b"[]",
        b"[]",
        config="agents: {a: {daily_tokens: 1000, daily_cost_usd: 2}}",
    )  # fmt: skip
    page = site["/"]
    assert page.rows == [
        ["Agent", "Status", "Last active", "Tokens/min", "Last 30 min", "Errors, 15 min", "Cost today", "Sessions"],
        [
            "a research", "▲ over its daily budget: 1,500 tokens of 1,000 tokens", "20 s ago", "1,500",
            "tokens per minute over 30 minutes: now 1,500, at most 1,500", "0 %", "$0.50 of $2.00", "1",
        ],
        ["b", "● working", "30 s ago", "0", "no tokens", "100 %", "$0.00", "1"],
        ["Source", "Lines read", "Accepted", "Rejected", "Duplicates", "Newest line"],
        ["test", "5", "2", "3 (not_object most)", "0", "0 s ago"],
    ]  # fmt: skip
    assert "2 agents 1 need a person now 0 worth a look $0.50 today 1,500 tokens today" in page.text
    assert "/agents/a" in page.links


def test_an_agents_page_shows_sessions_against_their_ceilings_and_actions_without_content():
    """And links every action to its trace."""
    secret = "the text of the user"
    site = Site(
        line(
            tokens={"prompt": 45_000, "completion": 10, "model": "m", "cost_usd": 0.25},
            input=secret, output={"text": secret, "confidence": 0.5}, error={"message": secret}, duration_ms=2300,
            parent_trace_id="t", metadata={"task_type": "batch", "retry_count": 2},
        ),
        line(timestamp="2026-03-18T09:15:40Z", status="timeout", error={"type": "ReadTimeout", "message": secret}),
        config="task_types: {batch: {session_tokens: 50000, normal_duration: 1s, max_duration: 5s}}",
    )  # fmt: skip
    html = site.pages.render("/agents/a")
    assert secret not in html
    page = read(html)
    assert ["s", "batch", "45.0 k of 50.0 k", "$0.25", "9.9 s of 5 s", "2", "1"] in page.rows
    assert page.rows[-2:] == [
        ["09:15:40", "search", "timeout ReadTimeout", "0 s", "", "", "", "654100f2"],
        ["09:15:32", "search", "success", "2.3 s", "45.0 k", "$0.25", "m, retry 2, confidence 0.50", "e3b98a4d"],
    ]
    assert [link for link in page.links if link.startswith("/traces/")] == [
        f"/traces/{done.trace_id}" for done in site.stages.recent.agent("a")
    ]


def test_a_trace_is_a_waterfall_of_who_worked_for_whom():
    """The same tree as the spans make."""
    site = Site(*(LOGS / "chain.ndjson").read_bytes().splitlines())
    page = site["/traces/4bf92f3577b34da6a3ce929d0e0e4736"]
    rows = [(cells[0], cells[-1]) for cells in page.rows if len(cells) == 5][1:]
    assert rows == [
        ("planner p1", "3 actions"),
        ("llm_call", "success claude-sonnet-4-20250514"),
        ("delegate", "success"),
        ("researcher r1", "3 actions"),
        ("llm_call", "success claude-sonnet-4-20250514"),
        ("fetcher f1", "▲ 1 of 2 failed"),
        ("http_get", "▲ timeout ReadTimeout"),
        ("http_get", "success retry 1, confidence 0.90, task completed"),
        ("summarise", "success claude-sonnet-4-20250514, confidence 0.72"),
        ("finish", "success task completed"),
        ("writer w1", "▲ 1 of 2 failed"),
        ("llm_call", "success claude-sonnet-4-20250514"),
        ("planner p2", "2 actions"),
        ("check_facts", "success confidence 0.40"),
        ("finish", "success task not completed"),
        ("publish", "▲ error PermissionError"),
        ("finish", "success task not completed"),
    ]
    assert "4 agents 12 actions 2 failed" in page.text


def test_a_trace_has_the_name_that_its_lines_give_it_and_no_number_that_they_do_not():
    """A ticket's number is what somebody comes with; tokens that nobody told are not none."""
    site = Site(line(parent_trace_id="ticket-4711", tokens=None, duration_ms=10))
    page = site[f"/traces/{trace_id_of('ticket-4711')}"]
    assert f"Trace ticket-4711 trace id {trace_id_of('ticket-4711')}" in page.text
    assert "— tokens — cost" in page.text


def test_what_nobody_remembers_has_no_page():
    """None is 404, which has a page of its own, with a way back."""
    site = Site(line())
    nowhere = site[""]
    assert "Nothing of that name is remembered here" in nowhere.text
    assert "/" in nowhere.links
    assert site.pages.render("/agents/nobody") is None
    assert site.pages.render(f"/traces/{'0' * 31}1") is None
    assert site.pages.render("/elsewhere") is None


def test_no_page_leads_to_metrics_that_a_browser_does_not_get(monkeypatch):
    """Which want a bearer token, where there is one: the password of a page is none."""
    monkeypatch.setattr(pages, "MAX_AGENTS", 1)
    site = Site(line(), line(agent_id="b"))
    assert site["/"].links.count("/metrics") == 2
    site.pages = Pages(site.look, metrics=False)
    for path in ("/", "/findings", "/agents/a", ""):
        assert "/metrics" not in site[path].links
    assert "and 1 more; /metrics has them all" in site["/"].text


@pytest.mark.parametrize("token", ["", "secret"])
def test_a_browser_that_has_logged_in_may_follow_every_link_of_a_page(tmp_path, token):
    """It sends the token as a password, and can send no bearer header."""
    (tmp_path / "token").write_text(token)
    server = {"token_file": str(tmp_path / "token")} if token else {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"server": server, "agents": {"a": {}}}))
    login = {"Authorization": f"Basic {base64.b64encode(f':{token}'.encode()).decode()}"}
    with Running("--config", tmp_path / "config.yaml", "--state.path", tmp_path / "state.db") as exporter:
        exporter.ready()
        status, page = exporter.get("/", **login)
        links = {link for link in read(page).links if link.startswith("/")}
        assert [exporter.get(link, **login)[0] for link in links] == [status] * len(links) == [200] * len(links)
        assert ("/metrics" in links) != bool(token)


def test_pages_refresh_themselves_unless_told_not_to():
    """Without a script."""
    site = Site(line())
    assert '<meta http-equiv="refresh" content="5">' in site.pages.render("/", 5)
    held = site.pages.render("/", None)
    assert "refresh" not in held.split("</head>")[0]
    assert "Refresh every 5 s" in held


@pytest.mark.parametrize("path", ["/", "/findings", "/agents/{}", "/traces/{}"])
def test_a_page_of_hostile_names_has_only_our_tags(path):
    """Everything is escaped, in texts and in links."""
    site = Site(
        *[
            line(
                agent_id=name, session_id=name, action=name, parent_trace_id="t", status="error",
                error={"type": name}, tokens={"model": name, "prompt": 1}, metadata={"team": name, "task_type": name},
            )
            for name in HOSTILE
        ],
        problem="<script>alert(1)</script>",
    )  # fmt: skip
    trace = site.stages.recent.agent(HOSTILE[0])[0].trace_id
    for name in set(HOSTILE) - {"_overflow"}:  # whoever is called so is one of the rest
        html = site.pages.render(path.format(trace if "traces" in path else quote(name, safe="")))
        page = read(html)
        assert page.tags <= {
            "html", "head", "meta", "title", "link", "body", "a", "header", "p", "nav", "time", "main", "b", "h1", "h2",
            "ul", "li", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "span", "i", "small", "svg",
            "rect", "footer", "code",
        }  # fmt: skip
        assert all(re.fullmatch(r"[/?#][-\w%.~/]*", link) for link in page.links)
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)


def test_an_agents_page_shows_its_health_checks_and_benchmarks_without_what_it_answered():
    """What pages by the rules is bad on the fleet, what is new or custom worth a look."""
    site = Site(line(timestamp="2026-03-18T09:16:12Z"), line(agent_id="b", timestamp="2026-03-18T09:16:12Z"))
    site.checks = [
        Result("a", "quota", passed=False, seconds=0.2, at=NOW - 5, interval=60, why="HTTP status 500, not 200", since=NOW - 900),
        Result("a", "liveness", passed=True, seconds=0.01, at=NOW - 10, interval=60, since=NOW - 7200),
        Result("a", "reasoning_quality", passed=False, seconds=1.5, at=NOW - 20, interval=60, why="the answer is secret", since=NOW - 260),
        Result("b", "liveness", passed=False, seconds=5, at=NOW - 20, interval=60, why="no answer: not within 5 s", since=NOW - 20),
    ]  # fmt: skip
    outcomes = [Outcome("sum", 0, 2, 1.0, "secret"), Outcome("word", 2, 2, 1.0, None)]
    site.stages.pipeline.store.commit(History().add(Report("a", "golden", NOW - 3600, outcomes)))
    assert [row[:2] for row in site["/"].rows[1:3]] == [
        ["a", "▲ fails reasoning_quality for 4 min 20 s"],
        ["b", "◆ fails liveness for 20 s"],
    ]
    page = site["/agents/a"]
    assert all(one in page.text for one in ("◆ fails quota for 15 min", "◆ passes 50 % of golden", "● working"))
    assert page.rows[page.rows.index(["Check", "Outcome", "Took", "Ran", "So since"]) :][:6] == [
        ["Check", "Outcome", "Took", "Ran", "So since"],
        ["liveness", "passes", "0 s", "10 s ago", "2 h ago"],
        ["quota", "HTTP status 500, not 200", "0.2 s", "5 s ago", "15 min ago"],
        ["reasoning_quality", "wrong answer", "1.5 s", "20 s ago", "4 min ago"],
        ["Suite", "Passed", "Ran", "Failed"],
        ["golden", "2 of 4", "1 h ago", "sum"],
    ]
    assert "secret" not in page.text


def test_who_failed_late_in_a_cascade_has_it_among_its_findings():
    """It is found when the third fails; the fourth is told of the same task."""
    site = Site(
        *(
            line(
                timestamp=f"2026-03-18T09:16:{second}Z", agent_id=name, session_id=name, parent_trace_id="task",
                status="error",
            )
            for second, name in enumerate("abcd", start=10)
        )
    )  # fmt: skip
    site.stages.detectors.tick(NOW + 60)
    site.stages.pipeline.commit()
    for name in "abcd":
        findings = site.pages.render(f"/agents/{name}").split('id="findings"')[1].split("<h2")[0]
        assert f"/traces/{trace_id_of('task')}" in findings


def test_findings_are_counted_beside_their_page_for_as_long_as_they_are_current():
    """What was found last week is on it all the same."""
    site = Site(line(metadata={"retry_count": 9}))
    site.stages.detectors.tick(NOW + 60)
    site.stages.pipeline.commit()
    assert "Findings 1 " in site["/"].text
    site.now = NOW + FRESH
    page = site["/findings"]
    assert "Findings 1 " not in page.text
    assert len(page.rows) == 2


# --- words -------------------------------------------------------------------------------------------------------


def said(cell: AgentCell, *, now: float = NOW, since: float = 0.0, today=None, **settings):
    base = AgentSettings(None, 300.0, quiet=False, daily_tokens=None, daily_cost_usd=None)
    return [
        (one.level, one.words)
        for one in conditions.conditions(cell, base._replace(**settings), today or Day(), now, since)
    ]


def cell(**fields) -> AgentCell:
    made = AgentCell("a", NOW - 1000, dirty=False, agent="a")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_silence_is_told_by_the_cycle_and_forgiven_by_plan_and_at_the_start():
    """As the rule does: more than twice the cycle, no quiet hours, the exporter up for a minute."""
    silent = cell(last_active=NOW - 61, last_action=NOW - 61)
    assert said(silent, expected_interval=30.0) == [("bad", "silent for 1 min 1 s; expected every 30 s")]
    assert said(silent, expected_interval=31.0) == [("good", "between tasks")]
    assert said(silent, expected_interval=30.0, quiet=True) == [("quiet", "silent by plan (quiet hours)")]
    assert said(silent, expected_interval=30.0, since=NOW - 59) == [("good", "between tasks")]
    assert said(silent) == [("good", "between tasks")]


def test_an_agent_that_never_logged_is_worth_a_look_once_it_is_overdue_and_wakes_nobody():
    """As the rule does: after ten minutes, of which the first since a start does not count, and not in quiet hours."""
    unseen = "not seen yet; expected every 30 s"
    assert said(cell(), expected_interval=30.0) == [("warn", unseen)]
    assert said(cell(created=NOW - 599), expected_interval=30.0) == [("quiet", unseen)]
    assert said(cell(), expected_interval=30.0, since=NOW - 659) == [("quiet", unseen)]
    assert said(cell(), expected_interval=30.0, since=NOW - 660) == [("warn", unseen)]
    assert said(cell(), expected_interval=30.0, quiet=True) == [("quiet", unseen)]
    assert said(cell()) == [("quiet", "not seen yet")]


def test_the_page_and_the_rules_agree_on_agents_that_never_logged():
    """How long they are waited for, and how grave it is: of ten that are only configured nobody is woken."""
    [rule] = [rule for group in yaml.safe_load((RULES / "silence.rules.yml").read_text())["groups"]
              for rule in group["rules"] if rule.get("alert") == "AgentNeverSeen"]  # fmt: skip
    assert (seconds(rule["for"]), rule["labels"]["severity"]) == (UNSEEN, "warning")
    agents = {f"a{number}": {"expected_interval": "30s"} for number in range(10)}
    site = Site(config=yaml.safe_dump({"agents": agents}), now=time.time())
    assert "10 agents 0 need a person now 0 worth a look" in site["/"].text
    site.now += 3600
    assert "10 agents 0 need a person now 10 worth a look" in site["/"].text


def test_a_dead_pipe_is_said_once_and_calls_no_agent_silent():
    """Three agents that fell silent together; one that was silent before still is."""
    config = yaml.safe_dump({"agents": {name: {"expected_interval": "30s"} for name in "abcd"}})
    stamps = {"a": "09:16:30", "b": "09:16:31", "c": "09:16:32", "d": "09:10:00"}
    lines = [line(agent_id=name, timestamp=f"2026-03-18T{at}Z") for name, at in stamps.items()]
    site = Site(*lines, config=config)
    site.now += 180
    page = site["/"]
    assert page.text.count("No agent's lines arrive:") == 1
    assert "4 agents 1 need a person now 0 worth a look" in page.text
    status = {row[0]: row[1] for row in page.rows[1:5]}
    assert status["d"].startswith("▲ silent for 9 min")
    assert [status[name] for name in "abc"] == [
        "○ not heard for 3 min 2 s, as others", "○ not heard for 3 min 1 s, as others", "○ not heard for 3 min, as others",
    ]  # fmt: skip


def test_stuck_is_told_from_a_long_call():
    """It says that it works, and has not acted for longer than a call may take."""
    stuck = cell(last_active=NOW, last_action=NOW - 301, states={"idle": NOW - 400, "working": NOW - 5})
    assert said(stuck) == [("bad", "stuck: says it works, no action for 5 min 1 s")]
    assert said(stuck, max_action_duration=400.0) == [("good", "idle")]
    assert said(stuck, expected_interval=30.0) == [("good", "idle")]  # it said so 296 s after its last action
    assert said(stuck, expected_interval=30.0, max_action_duration=295.0)[0][0] == "bad"
    idle = cell(last_active=NOW, last_action=NOW - 301, states={"idle": NOW - 5, "working": NOW - 10})
    assert said(idle) == [("good", "idle")]


def test_daily_budgets_warn_at_four_fifths_and_are_bad_when_passed():
    """Tokens and dollars beside one another, the worst first."""
    assert said(cell(last_active=NOW, active=1), daily_tokens=100, today=Day(79)) == [("good", "working")]
    assert said(
        cell(last_active=NOW, active=1), daily_tokens=100, daily_cost_usd=1.0, today=Day(80, 1.5)
    ) == [
        ("bad", "over its daily budget: $1.50 of $1.00"),
        ("warn", "near its daily budget: 80 tokens of 100 tokens"),
        ("good", "working"),
    ]  # fmt: skip


def told(metric: str, *days: tuple[float, int], frozen: bool = True, before: float = 0.9) -> AgentCell:
    """An agent with a first week, and so many values of such a mean on each day until today."""
    today = int(NOW // 86_400)
    return cell(
        last_active=NOW,
        baselines={metric: Baseline(0, 1, 100 * before, 100, frozen=frozen)},
        days={
            today - ago: Day(quality={metric: Mean(mean * count, count)})
            for ago, (mean, count) in enumerate(reversed(days))
        },
    )


WELL = [("good", "between tasks")]


@pytest.mark.parametrize(
    ("agent", "said_of_it"),
    [
        (told("confidence", (0.7, 40)), "confidence has drifted: 0.70 these days, was 0.90 in its first week"),
        (told("confidence", (0.7, 40), frozen=False), None),
        (told("confidence", (0.7, 29)), None),
        (told("confidence", (0.83, 400)), None),
        (told("completion", (0.2, 50)), "completion has drifted: 0.20 these days, was 0.90 in its first week"),
        (told("feedback", (0.8, 50), (0.6, 50)), "feedback has drifted: 0.70 these days, was 0.90 in its first week"),
        (told("completion", (0.75, 20), (0.70, 20)), "completion has drifted: 0.72 these days, was 0.90 in its first week"),
        (told("completion", (0.70, 16), (0.75, 16), before=0.88), None),
        (told("confidence", (0.5, 40), (0.9, 100), (0.9, 100), (0.9, 100), (0.9, 100)), None),
    ],
    ids=[
        "by its effect size", "not while its first week lasts", "not of a few", "not of a little", "completion too",
        "over the days together", "falling, two standard errors", "risen again, and less than three",
        "not of what was five days ago",
    ],
)  # fmt: skip
def test_drift_is_told_of_these_days_against_the_first_week(agent, said_of_it):
    """As the rules have it, but for their six hours."""
    assert said(agent) == ([("warn", said_of_it)] if said_of_it else []) + WELL


def test_an_agent_without_a_cycle_is_not_called_well_for_ever():
    """Nobody said when to expect it."""
    assert said(cell(last_active=NOW - 7300)) == [("quiet", "nothing for 2 h 1 min; no cycle is configured")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.04, "0 s"), (2.34, "2.3 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3599, "59 min"),
        (7199, "1 h 59 min"), (86400 * 3, "3 d"), (86400 * 30 + 5000, "30 d"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_its_largest_units(seconds, text):
    """Two of them while the second matters."""
    assert formatting.duration(seconds) == text


def test_numbers_are_short():
    """And small amounts of money are told from none."""
    assert [formatting.count(number) for number in (0, 9_999, 12_345, 3_100_000, 2e9)] == [
        "0", "9,999", "12.3 k", "3.1 M", "2.0 G",
    ]  # fmt: skip
    assert [formatting.money(dollars) for dollars in (0, 0.0089, 0.05, 1234.5)] == [
        "$0.00",
        "$0.0089",
        "$0.05",
        "$1,234.50",
    ]
    assert [formatting.percent(*pair) for pair in ((0, 0), (0, 5), (1, 30), (1, 3))] == ["—", "0 %", "3.3 %", "33 %"]
    assert formatting.ago(NOW + 5, NOW) == "0 s ago"
    assert formatting.ago(0.0, NOW) == "never"


# --- what is remembered ------------------------------------------------------------------------------------------


def remember(*records: dict) -> Recent:
    memory = Recent(0.0)
    for one in records:
        take(memory, json.dumps(one).encode())
    return memory


def take(memory: Recent, text: bytes) -> None:
    """Hand on a line that is read live."""
    memory.on_action(decode(text), None, Reading(live=True))


def test_what_is_remembered_is_bounded(monkeypatch):
    """The oldest traces and the agents quiet for longest make room, and are counted."""
    monkeypatch.setattr(recent, "MAX_AGENTS", 8)
    monkeypatch.setattr(recent, "MAX_TRACES", 10)
    memory = remember(
        *[
            record(agent_id=f"a{number}", timestamp=f"2026-03-18T09:15:{number:02}Z", parent_trace_id=f"t{number}")
            for number in range(20)
        ]
    )
    assert [bool(memory.agent(f"a{number}")) for number in range(20)] == [False] * 12 + [True] * 8
    assert len(memory._traces) == 10
    assert memory.evictions == 12 + 10


def test_a_trace_is_remembered_as_far_as_it_fits(monkeypatch):
    """What is over is counted; all together have a bound of their own."""
    monkeypatch.setattr(recent, "ACTIONS_OF_TRACE", 5)
    monkeypatch.setattr(recent, "MAX_ACTIONS", 8)
    memory = remember(*[record(parent_trace_id="t") for _ in range(7)])
    trace = memory.trace(memory.agent("a")[0].trace_id)
    assert (len(trace.actions), trace.dropped) == (5, 2)
    for number in range(4):
        take(memory, line(parent_trace_id="u", session_id=f"s{number}"))
    assert [len(trace.actions) for trace in memory._traces.values()] == [4]
    assert memory._held == 4


def test_rates_are_of_the_last_half_hour():
    """Older buckets do not show, and a late line counts in the newest."""
    memory = remember(
        record(timestamp="2026-03-18T08:00:00Z", tokens={"prompt": 7}),
        record(timestamp="2026-03-18T09:15:32Z", tokens={"prompt": 5}, status="error"),
        record(timestamp="2026-03-18T09:15:01Z", tokens={"prompt": 1}),
    )
    steps = memory.rates(NOW)["a"]
    assert [(index, step) for index, step in enumerate(steps) if any(step)] == [(115, (2, 1, 6))]
    assert memory.rates(NOW + 3600) == {}


def test_hostile_parents_neither_hang_nor_hide_a_session():
    """A circle of span ids, a parent that is not there, and one's own child as parent."""
    ids = [f"{number:016x}" for number in range(1, 5)]
    memory = remember(
        record(session_id="x", parent_trace_id="t", span_id=ids[0], parent_span_id=ids[1]),
        record(session_id="y", parent_trace_id="t", span_id=ids[1], parent_span_id=ids[0]),
        record(session_id="z", parent_trace_id="t", span_id=ids[2], parent_span_id=ids[3]),
        record(session_id="w", parent_trace_id="t", metadata={"parent_agent_id": "a"}),
    )
    rows = waterfall(memory.trace(memory.agent("a")[0].trace_id), [])
    assert sorted(row.session_id for row in rows if row.done is None) == ["w", "x", "y", "z"]
    assert len([row for row in rows if row.done is not None]) == 4


def test_span_ids_are_the_same_in_capitals():
    """As in the spans that are sent: ids are bytes, and W3C has them in lower case."""
    memory = remember(
        record(agent_id="a", parent_trace_id="t"),
        record(agent_id="b", parent_trace_id="t", span_id="CD" * 8),
        record(agent_id="c", parent_trace_id="t", span_id="ef" * 8, parent_span_id="cd" * 8),
        record(agent_id="d", parent_trace_id="t", parent_span_id="EF" * 8),
    )
    [trace] = memory._traces.values()
    a, b, c, d = ((agent, "s") for agent in "abcd")
    assert parents(trace) == {a: None, b: a, c: b, d: c}


def test_a_status_that_rests_on_something_leads_to_it_and_rows_stay_where_they_are():
    """Of like agents the name decides, and not who was the last to log."""
    over = {"tokens": {"prompt": 60_000}}
    site = Site(
        line(agent_id="b", session_id="s1", timestamp="2026-03-18T09:16:12Z", **over),
        line(agent_id="a", session_id="s2", timestamp="2026-03-18T09:16:10Z", **over),
    )
    fleet = site["/"]
    assert [row[0] for row in fleet.rows[1:3]] == ["a", "b"]
    assert "/agents/a#findings" in fleet.links
    assert '<h2 id="findings">' in site.pages.render("/agents/a")


def test_a_time_of_an_earlier_day_has_its_date():
    assert formatting.clock(NOW, NOW) == "09:16:32"
    assert formatting.clock(NOW - 86_400, NOW) == "2026-03-17 09:16:32"
    assert formatting.clock(NOW) == "09:16:32"


def test_the_end_of_a_session_says_how_the_task_went():
    """On its agent's page and in its trace, as long as either remembers it."""
    ends = [
        line(session_id=f"s{n}", action="session_end", metadata={"session_end": True} | told)
        for n, told in enumerate(({"task_completed": True}, {"task_completed": False}, {}))
    ]
    notes = [row[6] for row in Site(*ends)["/agents/a"].rows if row[1:2] == ["session_end"]]
    assert sorted(notes) == ["", "task completed", "task not completed"]
