"""The rules' half of `backtest`: what is read of them, the series made for them, when they fire, and what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from detecting import START, call, line
from running import ROOT, eventually

from agent_exporter import backtest
from agent_exporter.backtest import prometheus, report, rules
from agent_exporter.backtest.alerts import Watch
from agent_exporter.backtest.series import Series
from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.detectors.finding import Finding
from agent_exporter.replay import past

RULES = ROOT / "alert_rules"
SHIPPED = rules.read(RULES)[1]

# --- rules -----------------------------------------------------------------------------------------------------------


def test_the_rules_of_this_version_are_those_in_the_checkout_and_go_into_the_wheel():
    """Where `backtest` finds them without --rules."""
    assert rules.shipped() == RULES
    project = (ROOT / "pyproject.toml").read_text()
    assert '[tool.hatch.build.targets.wheel.force-include]\n"alert_rules" = "agent_exporter/alert_rules"' in project


READS = [
    ("up", {"up"}),
    ("sum by (agent_id) (increase(a_total{job='x}', b=~\"{\"}[5m] offset 1d)) > bool 0", {"a_total"}),
    ("time() - max(a) > on (b) group_left (c) 2 * level:a:b and on () hour() == 9 # d", {"a", "level:a:b"}),
    ("vector(1)", set()),
    ("a offset 5m or b unless c == Inf", {"a", "b", "c"}),
]


@pytest.mark.parametrize(("expr", "names"), READS)
def test_the_series_that_an_expression_reads(expr, names):
    """Neither functions nor labels nor words."""
    assert rules.reads(expr) == names


def test_a_recorded_series_is_read_no_further_back_than_its_interval():
    """Where a range is asked for, or another name only begins alike, nothing changes."""
    expr = 'a:b{c="}"} offset 1d / a:b > a:bc and deriv(a:b[3d]) < 0 or x_a:b'
    assert rules.fresh(expr, {"a:b": 15}) == (
        'last_over_time(a:b{c="}"}[15000ms] offset 1d) / last_over_time(a:b[15000ms]) > a:bc and deriv(a:b[3d]) < 0 or x_a:b'
    )


def test_the_alerts_that_no_log_can_judge_are_named_with_what_they_read():
    """Of the shipped rules: those about the exporter, its probes and the stack around it."""
    plan = rules.plan(SHIPPED)
    assert plan.left_out == {
        "": ("Watchdog",),
        "ALERTS": ("AgentDailyDigest",),
        "agent:loki_lines:count5m, agent:not_counted:count5m": ("AgentLinesNotCounted",),
        "agents:not_read:count5m": ("AgentLinesNotRead",),
        "agent_benchmark_passed_ratio": ("AgentBenchmarkRegressed",),
        "agent_breaker_agent_latched": ("AgentBreakerAgentLatched",),
        "agent_breaker_latched": ("AgentBreakerLatched",),
        "agent_breaker_wait_seconds": ("AgentBreakerWaiting",),
        "agent_exporter_config_last_reload_successful": ("AgentExporterConfigReloadFailed",),
        "agent_exporter_spans_dropped_total": ("AgentExporterSpansDropped",),
        "agent_exporter_state_available": ("AgentExporterStateUnavailable",),
        "agent_exporter_state_rows_unreadable_total": ("AgentExporterStateUnreadable",),
        "agent_health_check_success, agent_health_check_timestamp_seconds": (
            "AgentDown", "AgentModelUnreachable", "AgentReasoningDegraded", "AgentMemoryUnavailable",
            "AgentHealthCheckFailing",
        ),
        "agent_health_check_interval_seconds, agent_health_check_timestamp_seconds": ("AgentHealthChecksStale",),
        "agent_sessions_unconfirmed": ("AgentTerminatedStillLogging",),
        "alertmanager_notifications_failed_total, alertmanager_notifications_total": (
            "AgentNotificationsFailing", "AgentNotificationsReachNobody",
        ),
        "prometheus_rule_evaluation_failures_total": ("AgentRulesFailing",),
        "agent:exporter_deaf:timestamp, agent_health_check_timestamp_seconds": ("AgentUnwatched",),
        "up": (
            "AgentExportersAllDown", "AgentExporterDown", "AgentCollectorsAllDown", "AgentCollectorDown", "AgentStackServiceDown",
        ),
    }  # fmt: skip
    assert {rule.name for rule in plan.alerts} | {name for names in plan.left_out.values() for name in names} == {
        rule.name for rule in SHIPPED if rule.alert
    }
    assert set(report.FAILURES) <= {rule.name for rule in plan.alerts}


def test_what_is_recorded_reads_only_the_log_and_the_levels_before():
    """Otherwise it would read nothing."""
    seen = set()
    for level in rules.plan(SHIPPED).levels:
        for rule in level:
            assert {name for name in rules.reads(rule.expr) if ":" in name} <= seen | rules.OUTAGES
        seen |= {rule.name for rule in level}
    assert seen


def test_rules_that_nobody_asks_for_or_that_read_themselves_are_not_recorded():
    """Of three recordings one is read by an alert, and one goes round in a circle."""
    made = [
        rules.Rule("a:b:c", "agent_info", 15),
        rules.Rule("d:e:f", "agent_info", 15),
        rules.Rule("g:h:i", "g:h:i or agent_info", 15),
        rules.Rule("A", "a:b:c > 0", 15, alert=True),
        rules.Rule("G", "g:h:i > 0", 15, alert=True),
    ]
    plan = rules.plan(made)
    assert [[rule.name for rule in level] for level in plan.levels] == [["a:b:c"]]
    assert (plan.series, plan.left_out) == ({"agent_info"}, {"g:h:i": ("G",)})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("1h30m", 5400), ("250ms", 0.25), ("1w", 604800), ("0", 0), ("5", None), ("", None)],
)
def test_durations_are_read_as_prometheus_writes_them(text, seconds):
    """Without a unit it is none."""
    if seconds is None:
        with pytest.raises(ValueError, match="is not a duration"):
            rules.seconds(text)
    else:
        assert rules.seconds(text) == seconds


def test_severities_reach_what_alertmanagers_routes_say():
    """warning goes into the digest by the digest's own expression."""
    routes = yaml.safe_load((RULES / "alertmanager.yml").read_text())["route"]["routes"]
    receivers = {
        matcher.split('"')[1]: route["receiver"]
        for route in routes
        for matcher in route["matchers"]
        if matcher.startswith("severity=")
    }
    assert receivers == {"critical": "pager", "digest": "digest"}
    [digest] = [rule for rule in SHIPPED if rule.name == "AgentDailyDigest"]
    assert 'severity=~"critical|warning"' in digest.expr
    assert report.REACHES == {"critical": "page", "digest": "digest", "warning": "digest", "none": "nobody"}


# --- alerts ----------------------------------------------------------------------------------------------------------

HOLDS = [
    ("at once", {}, [15, 30], [(15, 15, 45)]),
    ("after its for", {"hold": 30}, [15, 30, 45, 60], [(15, 45, 75)]),
    ("not if it ends before", {"hold": 30}, [15, 30, 60, 75], []),
    ("twice", {}, [15, 45], [(15, 15, 30), (45, 45, 60)]),
    ("once where it is kept firing", {"keep": 30}, [15, 45], [(15, 15, 90)]),
    ("and its for is not helped by that", {"keep": 30, "hold": 15}, [15, 45, 60], [(45, 60, 105)]),
    ("until the log ends", {}, [15, 105], [(15, 15, 30), (105, 105, None)]),
]


@pytest.mark.parametrize(("settings", "times", "fired"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_an_alert_fires(settings, times, fired):
    """(since, at, until) of evaluations every 15 s until 105, at which the expression held."""
    watch = Watch(rules.Rule("A", "a", 15, **settings))
    for at in times:
        watch.see((("agent_id", "a"),), at, 1.0)
    watch.end(105)
    assert [(alert.since, alert.at, alert.until) for alert in watch.alerts] == fired


# --- series ----------------------------------------------------------------------------------------------------------


def test_gauges_are_told_when_they_change_and_counters_every_minute(tmp_path):
    """A counter that is born above zero was zero before; a gauge whose time is asked for is told at every step."""
    # 15, 30, 45, 60 and 75 s after 09:00; the lines are of 09:00:01, 09:00:40 and 09:01:10.
    log = tmp_path / "log"
    log.write_bytes(b"\n".join([line(1), line(40, status="error"), line(70)]) + b"\n")
    series = Series(
        {"agent_actions_total", "agent_last_active_timestamp_seconds", "agent_quiet_hours"},
        {"agent_last_active_timestamp_seconds"},
    )
    pages = []

    def scrape(stages, at):
        pages.append(series.at(stages.pipeline.store.committed, stages.live(at)))

    backtest.read(parse(""), [str(log)], backtest.Progress(lambda _: None, lambda _: None), scrape)
    active = 'agent_last_active_timestamp_seconds{agent_id="a"}'
    others = "".join(
        f'agent_actions_total{{agent_id="a",action="search",status="{status}"}} 0 1773824460.0\n'
        for status in ("timeout", "cancelled", "other")
    )
    assert pages == [
        f'agent_quiet_hours{{agent_id="a"}} 0 1773824415.0\n{active} 1773824401.0 1773824415.0\n',
        f"{active} 1773824401.0 1773824430.0\n",
        f"{active} 1773824440.0 1773824445.0\n",
        'agent_actions_total{agent_id="a",action="search",status="success"} 0 1773824401.0\n'
        'agent_actions_total{agent_id="a",action="search",status="error"} 0 1773824401.0\n'
        'agent_quiet_hours{agent_id="a"} 0 1773824460.0\n'
        f"{active} 1773824440.0 1773824460.0\n"
        'agent_actions_total{agent_id="a",action="search",status="success"} 1 1773824460.0\n'
        'agent_actions_total{agent_id="a",action="search",status="error"} 1 1773824460.0\n' + others,
        f"{active} 1773824470.0 1773824475.0\n",
    ]


def test_a_counter_that_is_only_read_over_long_windows_is_told_every_four_minutes(tmp_path):
    """And one over short ones every minute; one line in each of five minutes."""
    log = tmp_path / "log"
    log.write_bytes(b"\n".join(line(second, metadata={"retry_count": 1}) for second in range(10, 300, 60)) + b"\n")
    windows = {"agent_retries_total": 1200.0, "agent_fallbacks_total": 1199.0}
    series = Series(set(windows), (), windows)
    told = []

    def scrape(stages, at):
        text = series.at(stages.pipeline.store.committed, stages.live(at))
        told.extend((row.split("{")[0], *map(float, row.split(" ")[1:])) for row in text.splitlines())

    backtest.read(parse(""), [str(log)], backtest.Progress(lambda _: None, lambda _: None), scrape)
    nine = 1773824400.0
    assert [row for row in told if row[0] == "agent_fallbacks_total"] == [
        ("agent_fallbacks_total", 0, nine + 60 * minute) for minute in range(1, 5)
    ]
    assert [row for row in told if row[0] == "agent_retries_total"] == [
        ("agent_retries_total", 0, nine + 10),
        ("agent_retries_total", 4, nine + 240),
    ]


# --- the whole, with real servers ------------------------------------------------------------------------------------

CONFIG = """
agents:
  a: {team: t, expected_interval: 60s}
  b: {team: t, expected_interval: 60s, daily_tokens: 1000, terminate: {url: "http://127.0.0.1:9/stop"}}
task_types:
  default: {session_tokens: 800}
"""


def beat(second: int, agent: str) -> bytes:
    """A sign of life."""
    return line(second, agent_id=agent, session_id="p", action="heartbeat", output={"state": "idle"})


def bad_quarter_of_an_hour(tmp_path) -> list[str]:
    """a falls silent after 5 minutes and comes back after 10; b goes over its session's budget, then over the day's."""
    lines = [(second, beat(second, "b")) for second in range(0, 900, 30)]
    lines += [(second, beat(second, "a")) for second in range(0, 900, 30) if not 300 < second < 600]
    lines += [
        (second, line(second, agent_id="b", parent_trace_id="t", tokens={"prompt": 300, "completion": 0, "model": "m"}))
        for second in (95, 125, 155, 185)
    ]
    log, config = tmp_path / "log", tmp_path / "config.yaml"
    log.write_bytes(b"\n".join(text for _, text in sorted(lines)) + b"\n")
    config.write_text(CONFIG)
    return ["--config", str(config), str(log)]


@pytest.fixture
def servers(program, monkeypatch):
    """A real Prometheus and promtool."""
    found = prometheus.Programs(program("prometheus"), program("promtool"))
    monkeypatch.setattr("agent_exporter.backtest.prometheus.find", lambda: found)
    return found


def test_a_bad_quarter_of_an_hour_as_it_would_have_been(tmp_path, capfd, servers, monkeypatch, golden):
    """Every line and the whole summary, by the shipped rules; nothing is left on disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    assert command(["backtest", *bad_quarter_of_an_hour(tmp_path)]) == 0
    out, err = capfd.readouterr()
    golden("backtest.ndjson", out)
    golden("backtest.txt", err)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_names_read_are_those_that_prometheus_finds(servers, tmp_path):
    """In every shipped expression, and in what is made of it."""
    made = rules.plan(SHIPPED)
    every = {rule.expr for rule in (*SHIPPED, *made.alerts, *(rule for level in made.levels for rule in level))}
    with prometheus.Database(servers, tmp_path).server() as server:
        for expr in every:
            url = f"{server.url}/api/v1/parse_query?{urllib.parse.urlencode({'query': expr})}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert rules.reads(expr) == _selected(json.load(answer)["data"])


def _selected(tree) -> set[str]:
    if isinstance(tree, list):
        return set().union(*map(_selected, tree))
    if not isinstance(tree, dict):
        return set()
    own = {tree["name"]} if tree.get("type") in {"vectorSelector", "matrixSelector"} else set()
    return own.union(*map(_selected, tree.values()))


def test_rules_of_ones_own_are_evaluated_at_their_interval_with_their_for(tmp_path, capfd, servers):
    """A minute without prometheus.yml; a severity without a route is told as such."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(
        "groups: [{name: g, rules: [{alert: Busy, expr: 'agent_tokens_today > 500', for: 2m, labels: {severity: urgent}}]}]"
    )
    assert command(["backtest", "--rules", str(tmp_path / "own"), *bad_quarter_of_an_hour(tmp_path)]) == 0
    out, err = capfd.readouterr()
    [_, busy] = out.splitlines()
    assert busy == (
        '{"kind":"alert","agent_id":"b","at":"2026-03-18T09:05:00.000Z","evidence":{"alert":"Busy","severity":"urgent",'
        '"reaches":"unknown","since":"2026-03-18T09:03:00.000Z","value":1200.0,'
        '"labels":{"agent_id":"b","severity":"urgent"}}}'
    )
    assert (
        "Would have fired, with a severity that has no route here: once\n  Busy once, at 2026-03-18 09:05: b\n" in err
    )


def test_wrong_rules_are_wrong_use(tmp_path, capfd, servers):
    """promtool's own words; a folder without rules, and no folder."""
    for text, word in (
        ("groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]", "parse error"),
        ("groups: [{name: g}]", "not a file of Prometheus rules"),
        ("a: b", "no YAML file in it has `groups` of rules"),
        ("a: [", "not YAML"),
    ):
        (tmp_path / "r.yml").write_text(text)
        assert command(["backtest", "--rules", str(tmp_path), "-"]) == 2
        assert word in capfd.readouterr().err
    assert command(["backtest", "--rules", str(tmp_path / "nowhere"), "-"]) == 2
    assert "nowhere" in capfd.readouterr().err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_on_disk_and_nothing_runs_on_when_it_is_interrupted(tmp_path, sent):
    """A promtool that takes an hour: it is ended, and the folder is gone."""
    slow = tmp_path / "promtool"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = check ] && exit 0\necho $$ > {tmp_path}/pid.new\nmv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 3600\n'
    )
    slow.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    there = {"PROMTOOL_BIN": str(slow), "PROMETHEUS_BIN": "/bin/true", "TMPDIR": str(tmp_path / "tmp")}
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_exporter", "backtest", *bad_quarter_of_an_hour(tmp_path)],
        cwd=ROOT,
        env=os.environ | there,
    )
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    assert list((tmp_path / "tmp").iterdir())
    process.send_signal(sent)
    assert process.wait(30) == 130
    assert list((tmp_path / "tmp").iterdir()) == []
    eventually(lambda: not Path(f"/proc/{pid}").exists())  # once whoever inherited it has reaped it


def test_a_prometheus_that_does_not_start_is_said_so(tmp_path, capfd, program, monkeypatch):
    """With its last words; exit code 2, as what was asked for is not there."""
    found = prometheus.Programs("/bin/false", program("promtool"))
    monkeypatch.setattr("agent_exporter.backtest.prometheus.find", lambda: found)
    assert command(["backtest", *bad_quarter_of_an_hour(tmp_path)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("agent-exporter: Prometheus did not start: ")


@pytest.mark.parametrize("ready_first", [True, False])
def test_prometheus_may_be_ready_before_it_says_where_it_listens(tmp_path, ready_first):
    """Two of its threads say the two things, so either order comes; a script says them in each, as it would."""
    ready = 'time=2026-11-24T17:51:19Z level=INFO msg="Server is ready to receive web requests."'
    listening = 'time=2026-11-24T17:51:19Z level=INFO msg="Listening on" component=web address=127.0.0.1:9119'
    said = [ready, listening] if ready_first else [listening, ready]
    stand_in = tmp_path / "prometheus"
    stand_in.write_text("#!/bin/sh\n" + "".join(f"echo '{line}' >&2\n" for line in said) + "exec sleep 60\n")
    stand_in.chmod(0o755)
    database = prometheus.Database(prometheus.Programs(str(stand_in), ""), tmp_path)
    with database.server() as server:
        assert server.url == "http://127.0.0.1:9119"


def test_a_log_of_one_line_and_one_of_none_have_nothing_to_say(tmp_path, capfd, servers):
    """Nor are they too short for promtool."""
    for text in (line(0), b""):
        (tmp_path / "log").write_bytes(text)
        assert command(["backtest", str(tmp_path / "log")]) == 0
        out, err = capfd.readouterr()
        assert out == ""
        assert "\nWould have paged somebody: never\n" in err


def test_a_loop_is_told_by_the_detector_and_by_the_alert(tmp_path, capfd, servers):
    """The finding is the line's; the alert is that of the rules, ten minutes long, and kept for five."""
    log = tmp_path / "log"
    log.write_bytes(b"\n".join([*(call(second, duration_ms=second) for second in range(4)), line(900)]) + b"\n")
    assert command(["backtest", str(log)]) == 0
    found = [json.loads(row) for row in capfd.readouterr().out.splitlines()]
    assert [(row["kind"], row["evidence"].get("alert"), row["evidence"].get("until")) for row in found] == [
        ("loop", None, None),
        ("alert", "AgentLoop", "2026-03-18T09:15:15.000Z"),
    ]


# --- who would have been killed --------------------------------------------------------------------------------------


def found(kind: str, agent: str, session: str, second: int) -> Finding:
    """One of a detector."""
    return Finding(kind=kind, agent_id=agent, session_id=session, at=START + second, evidence={"loop": "repeat"})


def killed(findings, config: str) -> list[str]:
    """The summary's lines about it."""
    nothing = past(parse(""), ["/dev/null"])
    return list(report.summary(backtest.BacktestResult(nothing, findings, []), None, parse(config)))[1:]


def test_a_session_is_killed_once_and_only_where_that_is_configured():
    """Six within a minute are one too many; what is found after a kill kills nobody again."""
    findings = [found("session_budget", "a", f"s{n}", n) for n in range(6)]
    findings += [found("loop", "a", "s1", 30), found("session_budget", "b", "s", 90), found("cascade", "a", "t", 95)]
    assert killed(findings, "agents: {a: {terminate: {url: 'http://127.0.0.1:9/stop'}}}") == [
        "Would have been killed, with breaker.mode: enforce: 6 sessions",
        "  2026-03-18 09:00 to 2026-03-18 09:00: a 6",
        "  over 5 within a minute at 2026-03-18 09:00: the breaker would have latched there",
        "  and one session more, if its agent had `terminate` in the config",
        "  at 2026-03-18 09:01: b",
    ]


def test_loops_kill_where_the_config_says_so():
    """`breaker.reasons`; without an agent that can be stopped nobody is."""
    assert killed([found("loop", "a", "s", 0)], "breaker: {reasons: [loop]}") == [
        "Would have been killed, with breaker.mode: enforce: no session",
        "  and one session more, if its agent had `terminate` in the config",
        "  at 2026-03-18 09:00: a",
    ]
