"""The boards show what is there: names that are emitted, links that lead somewhere, queries that their servers take."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from alerting import Prometheus, copied
from boards import (
    AGENT,
    BOARDS,
    MAYBE_WITHOUT_DATA,
    NOT_ASKED,
    OF_OTHERS,
    TRACE,
    WITHOUT_DATA,
    goes_wrong,
    library,
    panels_of,
    streams,
    targets,
    watched,
)
from running import Answering, Sink, eventually, free_port

from agent_exporter.metrics.families import FAMILIES
from dashboards import build
from dashboards.agent import BURNING, ELEVATED
from dashboards.panels import BAD, WARN
from dashboards.shared import TITLES

ROOT = Path(__file__).parent.parent
DASHBOARDS = ROOT / "dashboards"
PANELS = [
    pytest.param(board, panel, id=f"{board['uid']}-{panel['title']}")
    for board in BOARDS
    for panel in panels_of(board)
    if panel["type"] != "row"
]
each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
each_panel = pytest.mark.parametrize(("board", "panel"), PANELS)

OTHERS = {
    "ALERTS", "ALERTS_FOR_STATE", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds",
    "scrape_duration_seconds", "scrape_samples_scraped", "up",
    "traces_service_graph_request_client_seconds_bucket", "traces_service_graph_request_total",
    "traces_spanmetrics_calls_total",
}  # fmt: skip
"""Series of other servers, and Prometheus' own."""
FILLED = {
    "$agent_id": "support-01",
    "$team": ".*",
    "$session": "",
    "$trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "$__rate_interval": "1m",
}


def filled(query: str) -> str:
    """With a value for every variable."""
    for name, value in FILLED.items():
        query = query.replace(name, value)
    return query


def asked(uid: str) -> list[str]:
    """Every query of a data source, of all boards and of the library."""
    library = re.findall(r"```(promql|logql|traceql)\n(.*?)```", (ROOT / "docs/queries.md").read_text(), re.DOTALL)
    language = {"prometheus": "promql", "loki": "logql", "tempo": "traceql"}[uid]
    queries = [query.strip() for kind, query in library if kind == language]
    for board in BOARDS:
        for panel in panels_of(board):
            queries += [
                target.get("expr") or target["query"]
                for target in panel.get("targets", ())
                if target["datasource"]["uid"] == uid and target.get("queryType") != "serviceMap"
            ]
        if uid == "prometheus":
            queries += [mark["expr"] for mark in board["annotations"]["list"]]
    assert queries
    return [filled(query) for query in dict.fromkeys(queries)]


def recorded() -> set[str]:
    """What the rules record, Loki's among them."""
    groups = [
        group
        for path in (ROOT / "alert_rules").rglob("*.yml")
        for group in (yaml.safe_load(path.read_text()) or {}).get("groups", ())
    ]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def metrics_of(expr: str) -> set[str]:
    """Names of metrics in an expression: words that are neither a function, a keyword, a label nor in quotes."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"[A-Za-z_:][\w:]*(?!\w*\s*\()", bare)
    return set(words) - {"and", "or", "unless", "bool", "offset", "by", "on", "m", "h", "d"} - {"5m", "1d"}


def base(name: str) -> str:
    """A histogram's or summary's family."""
    return re.sub(r"_(bucket|sum|count)$", "", name) if re.sub(r"_(bucket|sum|count)$", "", name) in FAMILIES else name


def test_json_is_what_the_sources_say():
    assert build.stale() == [], "run make boards"


def test_every_metric_is_emitted_recorded_or_another_servers():
    named = {base(name) for query in asked("prometheus") for name in metrics_of(query)}
    assert named <= FAMILIES.keys() | recorded() | OTHERS


@each_board
def test_a_variable_asks_for_a_metric_that_is_emitted(board):
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert re.match(r"label_values\((\w+)", variable["query"]["query"]).group(1) in FAMILIES


@each_board
def test_a_board_names_only_variables_that_it_has(board):
    given = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    text = json.dumps(board["panels"]).replace("${__", "")
    assert set(re.findall(r"\$(\w+)", text)) <= given


@each_board
def test_every_panel_has_its_own_id_and_place(board):
    panels = list(panels_of(board))
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@each_panel
def test_a_panel_says_what_a_value_means_and_in_which_unit(board, panel):
    assert panel["title"]
    assert len(panel["description"]) > 12
    assert panel["description"].endswith(".")
    if panel["type"] in {"timeseries", "stat", "bargauge", "heatmap", "state-timeline"}:
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "table" and "transformations" in panel:
        shown = panel["transformations"][-1]["options"]["renameByName"].values()
        units = {
            o["matcher"]["options"]
            for o in panel["fieldConfig"]["overrides"]
            for p in o["properties"]
            if p["id"] == "unit"
        }
        assert set(shown) <= units


@each_panel
def test_a_colour_is_never_the_only_sign(board, panel):
    text = json.dumps(panel)
    if '"color-text"' in text or panel["type"] == "stat":  # the value itself is written there
        assert '"color-background"' not in text


@each_panel
def test_a_panel_that_has_nothing_to_show_does_not_alarm(board, panel):
    """What stands there then has the colour of the first threshold, and a timeline a series that says it in words."""
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if "noValue" in defaults and "thresholds" in defaults:
        assert defaults["thresholds"]["steps"][0]["color"] not in {WARN, BAD}
    if panel["type"] == "state-timeline":
        assert " unless on () " in panel["targets"][-1]["expr"]
        assert panel["targets"][-1]["legendFormat"].startswith("none")


def test_a_trace_is_asked_for_only_once_it_is_chosen():
    """Tempo answers with an error to an empty id: such panels are in rows that are closed, and ask when opened."""
    opened = [panel for board in BOARDS for panel in board["panels"]]
    assert "$trace_id" not in json.dumps([panel.get("targets") for panel in opened])
    assert "$trace_id" in json.dumps([row["panels"] for row in opened if row.get("collapsed")])


def test_every_data_source_that_a_board_asks_is_provisioned():
    sources = {
        source["uid"]: source["type"]
        for source in yaml.safe_load((DASHBOARDS / "datasources.yml").read_text())["datasources"]
    }
    found = re.findall(
        r'"datasource": \{\s*"type": "(\w+)",\s*"uid": "(\w+)"',
        "".join(path.read_text() for path in build.JSON.glob("*.json")),
    )
    assert {(uid, kind) for kind, uid in found} <= sources.items()
    named = re.findall(r"datasourceUid: (\w+)", (DASHBOARDS / "datasources.yml").read_text())
    assert set(named) <= sources.keys()


def test_every_link_leads_to_a_board_and_a_variable_that_it_has():
    variables = {board["uid"]: {v["name"] for v in board["templating"]["list"]} for board in BOARDS}
    assert variables.keys() == TITLES.keys()
    text = "".join(path.read_text() for path in build.JSON.glob("*.json"))
    text += "".join(
        path.read_text().replace("{{ $labels.agent_id | urlquery }}", "x")
        for path in (ROOT / "alert_rules").glob("*.rules.yml")
    )
    links = re.findall(r'(?<=/)d/([\w-]+)(\?[^"\s]*)?', text)
    assert {uid for uid, _ in links} == TITLES.keys()
    for uid, query in links:
        assert set(re.findall(r"var-(\w+)=", query)) <= variables[uid], (uid, query)


KEYS = {
    "source": {"name", "uid", "type", "access", "url", "isDefault", "jsonData"},
    "prometheus": {"httpMethod", "timeInterval", "prometheusType", "exemplarTraceIdDestinations"},
    "loki": {"derivedFields"},
    "tempo": {"tracesToLogsV2", "tracesToMetrics", "serviceMap", "nodeGraph", "search", "spanBar", "traceQuery"},
    "alertmanager": {"implementation", "handleGrafanaManagedAlerts"},
    "provider": {
        "name",
        "folder",
        "folderUid",
        "type",
        "disableDeletion",
        "allowUiUpdates",
        "updateIntervalSeconds",
        "options",
    },
}
"""What Grafana's documentation of provisioning names, as far as it is used here."""


def test_provisioning_keeps_to_documented_keys():
    sources = yaml.safe_load((DASHBOARDS / "datasources.yml").read_text())
    provider = yaml.safe_load((DASHBOARDS / "provider.yml").read_text())
    assert sources.keys() == {"apiVersion", "datasources"}
    assert provider.keys() == {"apiVersion", "providers"}
    for source in sources["datasources"]:
        assert source.keys() <= KEYS["source"]
        assert source["jsonData"].keys() <= KEYS[source["type"]]
    for one in provider["providers"]:
        assert one.keys() <= KEYS["provider"]
    # One `$` would be a variable of Grafana's environment, and empty.
    assert re.findall(r"(?<!\$)\$(?!\$)[{\w]", re.sub(r"#.*", "", (DASHBOARDS / "datasources.yml").read_text())) == []


# --- real servers --------------------------------------------------------------------------------------------------


def test_prometheus_parses_every_query(tmp_path, program):
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked("prometheus"))]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run = subprocess.run(
        [program("promtool"), "check", "rules", "--lint=none", file], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture
def evaluated(tmp_path, program):
    """Compare the samples of an expression with what promtool gives, from series by minute."""

    def check(series: dict[str, str], *expected: tuple[str, str, dict[str, float]]) -> None:
        asked = [
            {"expr": expr, "eval_time": at, "exp_samples": [{"labels": k, "value": v} for k, v in samples.items()]}
            for expr, at, samples in expected
        ]
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        tests = [{"interval": "1m", "input_series": inputs, "promql_expr_test": asked}]
        file = tmp_path / "queries.test.yml"
        file.write_text(yaml.safe_dump({"tests": tests}))
        run = subprocess.run([program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr

    return check


def of_agent(name: str) -> str:
    """A query of the board of the agent `a`."""
    return targets(agent_id="a")[f"agent-detail: {name}"]["text"]


def test_an_agent_without_heartbeats_is_not_said_to_be_idle(evaluated):
    """Both of its gauges are 0 then."""
    says, state = of_agent("It says, A"), 'agent_state_timestamp_seconds{agent_id="a", state="%s"}'
    evaluated({state % "working": "0 0 60 60", state % "idle": "0 0 0 120"}, (says, "1m", {}), (says, "2m", {"{}": 1}),
              (says, "3m", {"{}": 0}))  # fmt: skip


def test_an_agent_without_health_checks_is_said_to_have_none(evaluated):
    """As it is without a config of one; an agent that is not known has nothing said of it."""
    some, none = (of_agent(f"Health checks, {query}") for query in "AB")
    success = 'agent_health_check_success{agent_id="a", check="liveness"}'
    evaluated({'agent_info{agent_id="a"}': "_ 1 1", success: "_ _ 0"}, (none, "0m", {}), (none, "1m", {"{}": 2}),
              (none, "2m", {}), (some, "2m", {'{check="liveness"}': 0}))  # fmt: skip


def test_errors_have_the_colour_of_their_alert_and_none_without(evaluated):
    """Three of five is 60 % of nearly nothing, and the agent is well. One of the queries answers, and no other."""
    assert {BURNING, ELEVATED} <= {alert for path in (ROOT / "alert_rules").glob("*.yml")
                                   for alert in re.findall(r"alert: (\w+)", path.read_text())}  # fmt: skip
    burning, elevated, plain = (of_agent(f"Errors 1h, {query}") for query in "ABC")
    ratio = 'agent:errors:ratio1h{agent_id="a"}'
    alert = 'ALERTS{alertname="%s", alertstate="firing", agent_id="a"}'
    evaluated(
        {ratio: "0.6x3", alert % ELEVATED: "_ 1 1", alert % BURNING: "_ _ 1"},
        *[(query, at, {ratio: 0.6} if (query, at) in {(plain, "0m"), (elevated, "1m"), (burning, "2m")} else {})
          for query in (burning, elevated, plain) for at in ("0m", "1m", "2m")],
    )  # fmt: skip


def test_what_was_never_found_leaves_no_bar_and_what_was_found_no_negative_one(evaluated):
    """A line's clock may be ahead."""
    ago, found = of_agent("Findings, how long ago, A"), 'agent_finding_timestamp_seconds{agent_id="a", kind="loop"}'
    evaluated(
        {found: "0 90 90"}, (ago, "0m", {}), (ago, "1m", {'{kind="loop"}': 0}), (ago, "2m", {'{kind="loop"}': 30})
    )


@each_board
def test_marks_are_of_the_agents_shown_and_few(board, evaluated):
    """Twenty new agents with a new model each on other agents' boards; on those that show them one for their team."""
    marks = {mark["name"]: mark["expr"] for mark in board["annotations"]["list"]}
    alert = 'ALERTS{alertname="A", alertstate="firing", severity="critical", agent_id="%s", team="%s"}'
    series = {'agent_info{agent_id="a", team="x"}': "1x9", 'agent:team:info{agent_id="a", team="x"}': "1x9",
              'agent_tokens_total{agent_id="a", model="m"}': "1x9", alert % ("b0", "y"): "_x4 1x5"}  # fmt: skip
    for name in (f"b{number}" for number in range(20)):
        series |= {f'agent_info{{agent_id="{name}", team="y"}}': "_x4 1x5", f'agent:team:info{{agent_id="{name}", team="y"}}': "_x4 1x5",
                   f'agent_tokens_total{{agent_id="{name}", model="new"}}': "_x4 1x5"}  # fmt: skip

    def seen(agents: str, teams: str, at: str, *there: str) -> list[tuple[str, str, dict[str, float]]]:
        all_of_them = {
            "Critical alerts": {alert % ("b0", "y"): 1},
            "New model": {'{model="new"}': 20},
            "New agents": {'{team="y"}': 20},
        }
        return [
            (marks[name].replace("$agent_id", agents).replace("$team", teams), at, samples if name in there else {})
            for name, samples in all_of_them.items()
        ]

    chosen = {variable["name"] for variable in board["templating"]["list"]} & {"agent_id", "team"}
    if chosen:
        evaluated(series, *(one for minute in range(10) for one in seen("a", "x", f"{minute}m")))
    if board["uid"] != "agent-detail":  # which shows one agent
        every = ("Critical alerts", "New model", "New agents")
        evaluated(series, *(one for at in range(10) for one in seen(".*", ".*", f"{at}m", *(every if at == 4 else ()))))


def answered(url: str, within: float = 60) -> bytes:
    """What a server says once it is up."""
    until = time.monotonic() + within
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if time.monotonic() > until or (isinstance(error, urllib.error.HTTPError) and error.code != 503):
                said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else error
                raise AssertionError(f"{urllib.parse.unquote(url)}: {said}") from error
            time.sleep(0.3)


def of_source(uid: str, language: str) -> dict[str, str]:
    """Every query of a data source, of all panels and of docs/queries.md, by what it is called."""
    of_panels = {
        name: one["text"]
        for name, one in targets(agent_id=AGENT, trace_id=TRACE).items()
        if one["datasource"]["uid"] == uid and name not in NOT_ASKED
    }
    return of_panels | library(language)


def answers_all(asked: dict[str, str], answers, within: float) -> None:
    """Each with data but for those that are known to have none, of which none stands there in vain."""
    reasons = {name for name in WITHOUT_DATA if name in asked}
    left = asked.keys() - reasons
    until = time.monotonic() + within
    while left := {name for name in left if not answers(asked[name])}:
        assert time.monotonic() < until, "\n".join(sorted(left))
        time.sleep(1)
    assert {name for name in reasons if answers(asked[name])} == set()


def test_every_query_is_asked_or_has_a_reason_not_to_be():
    """And no reason is given for a query that is not there."""
    panels = targets()
    asked = [of_source(*source) for source in (("prometheus", "promql"), ("loki", "logql"), ("tempo", "traceql"))]
    assert panels.keys() - set().union(*asked) == NOT_ASKED.keys()
    assert not any(panels[name]["text"] for name in NOT_ASKED)
    assert WITHOUT_DATA.keys() | MAYBE_WITHOUT_DATA.keys() <= panels.keys() - NOT_ASKED.keys()
    assert all({**NOT_ASKED, **WITHOUT_DATA, **MAYBE_WITHOUT_DATA}.values())


@pytest.mark.slow
def test_prometheus_answers_every_query(tmp_path, program):
    """Over five minutes, as a graph asks. Marks are of what was not there before, and have a test of their own."""
    (tmp_path / "rules").mkdir()
    copied(tmp_path / "rules")
    for path in (tmp_path / "rules").glob("*.rules.yml"):
        path.write_text(re.sub(r"(?m)^( +interval): .*", r"\1: 1s", path.read_text()))
    with Sink() as spans, Answering(200, OF_OTHERS.encode()) as others, watched(tmp_path, spans.url) as exporter:
        others.headers = {"Content-Type": "text/plain; version=0.0.4"}
        with Prometheus(program, tmp_path / "rules", exporter.url) as prometheus:
            eventually(lambda: prometheus.query('up{job="agent-exporter"} == 1'))
            file = tmp_path / "rules/prometheus.yml"
            config = yaml.safe_load(file.read_text())
            config["scrape_configs"].append(
                {"job_name": "others", "static_configs": [{"targets": [others.url.removeprefix("http://")]}]}
            )
            file.write_text(yaml.safe_dump(config))
            prometheus.reload()
            goes_wrong(tmp_path)

            def answers(query: str) -> bool:
                now = time.time()
                parameters = urllib.parse.urlencode({"query": query, "start": now - 300, "end": now, "step": 5})
                return bool(json.loads(answered(f"{prometheus.url}/api/v1/query_range?{parameters}"))["data"]["result"])

            answers_all(of_source("prometheus", "promql"), answers, 60)
            for mark in (mark for board in BOARDS for mark in board["annotations"]["list"]):
                answers(filled(mark["expr"]))


@pytest.mark.slow
def test_loki_answers_every_query(tmp_path, program):
    port = free_port()
    config = {
        "auth_enabled": False,
        "analytics": {"reporting_enabled": False},
        "server": {"http_listen_address": "127.0.0.1", "http_listen_port": port,
                   "grpc_listen_address": "127.0.0.1", "grpc_listen_port": (grpc := free_port()), "log_level": "error"},
        "frontend": {"address": "127.0.0.1", "port": grpc},
        "common": {"path_prefix": str(tmp_path), "replication_factor": 1, "instance_addr": "127.0.0.1",
                   "ring": {"kvstore": {"store": "inmemory"}, "instance_addr": "127.0.0.1"},
                   "storage": {"filesystem": {"chunks_directory": f"{tmp_path}/chunks", "rules_directory": f"{tmp_path}/rules"}}},
        "schema_config": {"configs": [{"from": "2024-04-01", "store": "tsdb", "object_store": "filesystem", "schema": "v13",
                                       "index": {"prefix": "index_", "period": "24h"}}]},
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": free_port()},
        "limits_config": {"allow_structured_metadata": True},
    }  # fmt: skip
    file = tmp_path / "loki.yml"
    file.write_text(yaml.safe_dump(config))
    with subprocess.Popen(
        [program("loki"), f"-config.file={file}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as loki:
        try:
            answered(f"http://127.0.0.1:{port}/ready")
            urllib.request.urlopen(
                urllib.request.Request(
                    f"http://127.0.0.1:{port}/loki/api/v1/push",
                    json.dumps({"streams": streams(time.time())}).encode(),
                    {"Content-Type": "application/json"},
                ),
                timeout=10,
            ).close()

            def answers(query: str) -> bool:
                now = time.time_ns()
                one = urllib.parse.urlencode({"query": query, "time": now})
                over = urllib.parse.urlencode({"query": query, "start": now - 300 * 10**9, "end": now})
                path = f"query?{one}" if re.match(r"(sum|topk|count)\b", query) else f"query_range?{over}"
                return bool(json.loads(answered(f"http://127.0.0.1:{port}/loki/api/v1/{path}"))["data"]["result"])

            answers_all(of_source("loki", "logql"), answers, 30)
        finally:
            loki.terminate()


@pytest.mark.slow
def test_tempo_answers_every_query(tmp_path, program, monkeypatch):
    """Not in any kit of servers: it is asked where TEMPO_BIN names one, and REQUIRE_SERVERS does not ask for it."""
    monkeypatch.delenv("REQUIRE_SERVERS", raising=False)
    port, receiver = free_port(), free_port()
    config = {
        "server": {"http_listen_address": "127.0.0.1", "http_listen_port": port, "grpc_listen_address": "127.0.0.1",
                   "grpc_listen_port": free_port(), "log_level": "error"},
        # Its default is below /var/tempo, where another Tempo of this machine may be at work.
        "live_store": {"wal": {"path": f"{tmp_path}/live"}, "shutdown_marker_dir": f"{tmp_path}/marker"},
        "usage_report": {"reporting_enabled": False},
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": free_port()},
        "distributor": {"receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{receiver}"}}}}},
        "query_frontend": {"query_end_cutoff": "0s"},
        "storage": {"trace": {"backend": "local", "local": {"path": f"{tmp_path}/blocks"}, "wal": {"path": f"{tmp_path}/wal"}}},
    }  # fmt: skip
    file = tmp_path / "tempo.yml"
    file.write_text(yaml.safe_dump(config))
    with subprocess.Popen(
        [program("tempo"), f"-config.file={file}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as tempo:
        try:
            answered(f"http://127.0.0.1:{port}/ready", within=90)

            def answers(query: str) -> bool:
                if not query.startswith("{"):  # an id of a trace
                    return bool(json.loads(answered(f"http://127.0.0.1:{port}/api/v2/traces/{query}"))["trace"])
                now = int(time.time())
                path = "metrics/query_range" if "_over_time" in query else "search"
                over = urllib.parse.urlencode({"q": query, "start": now - 600, "end": now})
                found = json.loads(answered(f"http://127.0.0.1:{port}/api/{path}?{over}"))
                return bool(found.get("series") or found.get("traces"))

            with watched(tmp_path, f"http://127.0.0.1:{receiver}"):
                goes_wrong(tmp_path)
                answers_all(of_source("tempo", "traceql"), answers, 60)
        finally:
            tempo.kill()  # it takes its time over an orderly end, and has nothing to keep


@pytest.mark.slow
def test_grafanas_own_types_take_the_boards(tmp_path):
    npm = shutil.which("npm")
    if npm is None or not os.environ.get("GRAFANA_SCHEMA"):
        pytest.skip(
            "NOT TESTED: the types of @grafana/schema want npm and GRAFANA_SCHEMA=1 (it installs them, about a minute)"
        )
    subprocess.run([npm, "init", "-y"], cwd=tmp_path, check=True, capture_output=True)
    packages = ["@grafana/schema@12.3.0", "typescript@5.9"]
    subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    for board in (boards := json.loads(json.dumps(BOARDS))):
        for mark in board["annotations"]["list"]:
            for key in ("expr", "titleFormat", "textFormat", "step"):  # Prometheus' own, which the types leave open
                del mark[key]
    # As literals in a module: the types know enums, and strings read from a JSON file would be any string.
    texts = ["import type * as g from '@grafana/schema';"]
    texts += [
        f"export const b{number}: Loose<g.Dashboard> = {json.dumps(board)};" for number, board in enumerate(boards)
    ]
    # Enums of the types are spelt as the strings that they are.
    texts.append(
        "type Loose<T> = T extends string ? `${T}` : T extends number ? number : T extends boolean ? boolean "
        ": T extends (infer U)[] ? Loose<U>[] : T extends object ? { [K in keyof T]: Loose<T[K]> } : T;"
    )
    (tmp_path / "boards.ts").write_text("\n".join(texts))
    tsc = [
        tmp_path / "node_modules/.bin/tsc",
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--moduleResolution",
        "bundler",
        "--module",
        "esnext",
    ]
    run = subprocess.run([*tsc, "boards.ts"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[:4000]
