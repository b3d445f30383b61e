"""Alert rules, their routes and their runbooks are one thing, and the real servers agree.

What the alerts do is in tests/rules/*.test.yml, which promtool runs: each fires, stays quiet just before, and resists
the false positive that its name tells.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from alerting import RULES, RUNBOOKS, Alertmanager, Mailbox, Prometheus, ask, copied, run
from conftest import HERE, LOGS
from running import Answering, Running, eventually

from agent_exporter.detectors.kinds import TOPICS
from agent_exporter.metrics.families import FAMILIES

FILES = sorted(RULES.glob("*.rules.yml"))
GROUPS = {path.name: yaml.safe_load(path.read_text())["groups"] for path in FILES}
EVERY = [rule for groups in GROUPS.values() for group in groups for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EVERY if "alert" in rule}
RECORDED = {rule["record"] for rule in EVERY if "record" in rule} | {
    "agent:loki_lines:count5m",
    "agents:loki_lines:count5m",
}
BOARDS = {"agent-overview", "agent-team", "agent-detail", "agent-traces", "agent-budget", "agent-exporter"}
"""The uids of the dashboards."""


def test_every_metric_in_a_rule_is_one_that_the_exporter_emits():
    """And no other."""
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name) if name not in FAMILIES else name
        for rule in EVERY
        for name in re.findall(r"(?<![\w:])agent_[a-z_]+(?![\w:])(?=\s*[{\[)\s*]|$)", rule["expr"])
    } - {"agent_id", "agent_action"}
    assert named <= set(FAMILIES)


def test_every_recorded_series_that_is_read_is_recorded():
    """level:metric:operation, in rules and in the queries of annotations."""
    read = {name for rule in EVERY for name in re.findall(r"[a-z_]+:\w+:\w+", json.dumps(rule))}
    assert read == RECORDED


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_happened_and_where_to_go(name):
    """Keys in one order; a sentence, a sentence with values, a runbook and a board that exist."""
    rule = ALERTS[name]
    assert [key for key in ("alert", "expr", "for", "keep_firing_for", "labels", "annotations") if key in rule] == list(
        rule
    )
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "none", "digest"}
    told = rule["annotations"]
    assert re.fullmatch(r"[A-Z][^{}]*\.", told["summary"])
    assert told["runbook_url"] == f"{{{{ $externalLabels.runbooks }}}}/{name}.md"
    assert (RUNBOOKS / f"{name}.md").is_file()
    board = re.match(r"\{\{ \$externalLabels\.grafana }}/d/([a-z-]+)", told["dashboard_url"])
    assert board
    assert board[1] in BOARDS


def test_every_runbook_belongs_to_an_alert_and_has_the_same_five_parts():
    """And no other."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)
    for path in RUNBOOKS.glob("*.md"):
        found = re.findall(r"^#+ .*", path.read_text(), re.MULTILINE)
        parts = ["Meaning", "Likely causes", "Look at", "Stop it", "Silence it"]
        assert found == [f"# {path.stem}", *(f"## {part}" for part in parts)]


def test_runbooks_ask_loki_by_the_labels_that_are_indexed():
    """A stream selector with another one finds nothing; agent_id comes after it."""
    selectors = [
        selector
        for path in RUNBOOKS.glob("*.md")
        for selector in re.findall(r"`\{([^}]*)\}[^`]*` in Loki", path.read_text().replace("\n", " "))
    ]
    assert len(selectors) >= 6
    assert {label for text in selectors for label in re.findall(r"(\w+)[=!]", text)} <= {
        "service_name",
        "agent",
        "level",
    }


def test_every_alert_is_tested_to_fire_and_to_stay_quiet():
    """In the test file of its own rules."""
    fires, quiet = set(), set()
    for path in (HERE / "rules").glob("*.test.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("alert_rule_test", []):
                (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    assert fires == set(ALERTS)
    assert quiet == set(ALERTS) - {"Watchdog"}


def test_every_alert_with_a_team_fires_while_a_replica_still_believes_in_another_one():
    """Such a replica has not seen the newest line. Of an agent that none ever heard, all know the team by the config."""
    disagreeing = {
        check["alertname"]
        for path in (HERE / "rules").glob("*.test.yml")
        for case in yaml.safe_load(path.read_text())["tests"]
        if 'team="old"' in json.dumps(case["input_series"]).replace("\\", "")
        for check in case.get("alert_rule_test", [])
        if check["exp_alerts"]
    }
    joining = {name for name, rule in ALERTS.items() if "agent:team:info" in rule["expr"]}
    assert disagreeing == joining - {"AgentNeverSeen"}


@pytest.mark.parametrize("path", sorted((HERE / "rules").glob("*.test.yml")), ids=lambda path: path.name)
def test_the_rules_do_what_their_tests_say(program, path):
    """Promtool's unit tests."""
    run(program("promtool"), "test", "rules", str(path))


def test_promtool_finds_no_fault_in_rules_and_configuration(program, tmp_path):
    """Lint included. The token's file is the deployment's: an empty one stands in."""
    run(program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES))
    copied(tmp_path)
    run(program("promtool"), "check", "config", str(tmp_path / "prometheus.yml"))


@pytest.mark.slow
def test_a_real_prometheus_evaluates_every_rule_on_a_real_scrape(program, tmp_path):
    """No rule has an error, and those of agents have something to say."""
    copied(tmp_path)
    with Running(LOGS / "chain.ndjson") as exporter, Prometheus(program, tmp_path, exporter.ready().url) as prometheus:
        eventually(lambda: prometheus.query("agent:tokens_today:sum"), within=60)
        time.sleep(2)
        groups = ask(f"{prometheus.url}/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == len(EVERY)
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
        with urllib.request.urlopen(f"{prometheus.url}/user/AgentLoop.md") as answer:
            assert answer.read().decode().startswith("# AgentLoop\n")


ROUTES = [
    ("pager-until-closed", "severity=critical alertname=AgentLoop agent_id=a team=t"),
    ("pager", "severity=critical alertname=AgentSilent agent_id=a team=t"),
    ("pager", "severity=critical alertname=AgentExporterDown"),
    ("nobody", "severity=warning alertname=AgentSlow agent_id=a"),
    ("nobody", "severity=none alertname=AgentInCascade agent_id=a"),
    ("digest", "severity=digest alertname=AgentDailyDigest fired=AgentSlow"),
    ("dead-mans-switch", "severity=none alertname=Watchdog"),
]


@pytest.mark.parametrize(("receiver", "labels"), ROUTES)
def test_alerts_go_where_their_severity_says(program, receiver, labels):
    """amtool's own opinion."""
    config = f"--config.file={RULES / 'alertmanager.yml'}"
    command = (program("amtool"), "config", "routes", "test", config, f"--verify.receivers={receiver}")
    assert run(*command, *labels.split()) == f"{receiver}\n"


def test_amtool_finds_no_fault(program):
    """Nor in the templates."""
    run(program("amtool"), "check-config", str(RULES / "alertmanager.yml"))


def test_inhibition_names_alerts_that_exist():
    """A renamed alert would otherwise go on paging beside its cause."""
    rules = yaml.safe_load((RULES / "alertmanager.yml").read_text())["inhibit_rules"]
    named = set(re.findall(r"\b(?:Agent[A-Z]\w+|Watchdog)\b", json.dumps(rules)))
    assert named <= set(ALERTS)


def expected(name: str, number: int = 0) -> dict:
    """Labels and annotations of an alert as its promtool test has them."""
    for path in sorted((HERE / "rules").glob("*.test.yml")):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("alert_rule_test", []):
                if check["alertname"] == name and check["exp_alerts"]:
                    told = check["exp_alerts"][number]
                    return {
                        "labels": {"alertname": name} | told["exp_labels"],
                        "annotations": told["exp_annotations"],
                    }
    raise AssertionError(name)


@pytest.mark.slow
def test_a_page_says_what_happened_to_whom_since_when_and_what_to_do(program, tmp_path):
    """The whole text that reaches Slack, and what reaches PagerDuty."""
    with Alertmanager(program, tmp_path, secrets=True) as alertmanager:
        alertmanager.fire(expected("AgentLoop"))
        eventually(lambda: len(alertmanager.bodies) >= 2)
        sent = dict(alertmanager.bodies)
    text = (
        "a was found looping 0s ago: it repeats itself with the same outcome, fails in the same way again and again, "
        "or works longer than it may. Each round costs tokens; stop the session.\n"
        "Since 09:15:32 UTC, 18 Mar, team t.\n"
        "Do: http://runbooks/AgentLoop.md\n"
        "See: http://grafana/d/agent-detail?var-agent_id=a or http://status/agents/a\n"
    )
    attachment = sent["/slack"]["attachments"][0]
    assert sent["/slack"]["channel"] == "#agents-critical"
    assert attachment["title"] == "AgentLoop: a"
    assert attachment["title_link"] == "http://runbooks/AgentLoop.md"
    assert attachment["text"].strip() == text.strip()
    page = sent["/pagerduty"]
    assert page["event_action"] == "trigger"
    assert page["routing_key"] == "key"
    assert page["payload"]["summary"] == "AgentLoop: a"
    assert page["payload"]["severity"] == "critical"
    assert page["payload"]["custom_details"]["what"].strip() == text.strip()


HOSTILE = (
    "<!channel> <https://evil.example/login|Sign in> <@U123> @here *bold* _it_ ~no~ `code` "
    "[Sign in](https://evil.example) <b onclick=x>&amp;</b> a\r\nBcc: x@evil.example\u202e\u200b\x07 " + "long" * 500
)
"""A name that is markup for somebody."""
ON_ONE_LINE = (
    "<!channel> <https[:]//evil.example/login|Sign in> <@U123> @here *bold* _it_ ~no~ `code` "
    "[Sign in](https[:]//evil.example) <b onclick=x>&amp;</b> a Bcc: x@evil.example longlong"
)
"""How it begins where text is text."""


def hostile(name: str) -> dict:
    """An alert whose texts from logs are HOSTILE, with the links that its rule makes of them."""
    alert = expected(name)
    labels = alert["labels"] | {"agent_id": HOSTILE, "team": HOSTILE, "check": HOSTILE}
    urls = {"dashboard_url": f"http://grafana/d/agent-detail?var-agent_id={urllib.parse.quote_plus(HOSTILE)}"}
    words = {"description": f"{HOSTILE[:400]} was found looping.", "summary": HOSTILE}
    return {"labels": labels, "annotations": alert["annotations"] | urls | words}


def raw(text: str) -> list[str]:
    """What of HOSTILE could still be read as markup, be it in a link, in Slack or in HTML."""
    signs = ("<!", "<@", "<https", "<b", "://evil", "\r", "\u202e", "\u200b", "\x07")
    return [sign for sign in signs if sign in text]


@pytest.mark.slow
def test_text_from_logs_is_markup_in_no_message(program, tmp_path):
    """What a real Alertmanager delivers to Slack, PagerDuty, Opsgenie and by e-mail: text, on one line and bounded."""
    with Mailbox() as mailbox, Alertmanager(program, tmp_path, secrets=True, smarthost=mailbox.address) as alertmanager:
        digest = hostile("AgentDailyDigest") | {"startsAt": datetime.now(UTC).isoformat()}
        alertmanager.fire(hostile("AgentSilent"), digest)
        eventually(lambda: len(alertmanager.bodies) >= 4 and mailbox.letters)
        bodies = alertmanager.bodies
    for _, body in (one for one in bodies if one[0] == "/slack"):
        (attachment,) = body["attachments"]
        assert raw(json.dumps(attachment, ensure_ascii=False).replace("\\n", "")) == []
        assert (attachment["mrkdwn_in"], body.get("link_names", False)) == (["pretext"], False)
        assert "&lt;!channel&gt; &lt;https[:]//evil.example/login|Sign in&gt; &lt;@U123&gt;" in attachment["text"]
        assert len(attachment["text"]) < 5000
        assert len(attachment["title"]) < 300
    (page,) = (body["payload"] for path, body in bodies if path == "/pagerduty")
    (opsgenie,) = (body for path, body in bodies if path.startswith("/opsgenie"))
    (letter,) = mailbox.letters
    title = f"AgentSilent: {ON_ONE_LINE[:100]}"
    assert (page["summary"], opsgenie["message"], letter["Subject"]) == (title, title, title)
    assert "Bcc" not in letter
    plain, html = (letter.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for text in (page["custom_details"]["what"], opsgenie["description"], plain.replace("\r\n", "\n")):
        assert text.startswith(ON_ONE_LINE)
        assert len(text) < 3000
        assert set(raw(text)) <= {"<!", "<@", "<https", "<b"}  # which are text where no Slack reads them
    assert {name for name, value in page["custom_details"].items() if value} == {"what", "num_firing"}
    assert all(len(value) <= 100 for value in opsgenie["details"].values())
    assert raw(json.dumps(opsgenie["details"])) == ["<!", "<@", "<https"]
    assert raw(html.replace("\r\n", "\n")) == []
    assert "&lt;!channel&gt;" in html


@pytest.mark.slow
def test_the_digest_is_one_message_with_a_line_for_each_alert(program, tmp_path):
    """Critical and warning, with agent and team where there are some; a warning itself is sent to nobody."""
    # An alert that began long ago is sent at once, without the group's wait; a digest begins when it is sent.
    digest = expected("AgentDailyDigest") | {"startsAt": datetime.now(UTC).isoformat()}
    other = digest | {
        "labels": digest["labels"] | {"fired": "AgentStackServiceDown", "was": "warning"},
        "annotations": digest["annotations"] | {"description": "AgentStackServiceDown (warning) fired for 12m 0s."},
    }
    with Alertmanager(program, tmp_path, secrets=True) as alertmanager:
        alertmanager.fire(expected("AgentStackServiceDown"), digest, other)
        eventually(lambda: alertmanager.bodies)
        time.sleep(2)
        ((path, body),) = alertmanager.bodies
    assert path == "/slack"
    assert body["channel"] == "#agents-digest"
    assert body["attachments"][0]["title"] == "What agents did in the last 24 hours"
    assert sorted(body["attachments"][0]["text"].strip().splitlines()) == sorted(
        [digest["annotations"]["description"], "AgentStackServiceDown (warning) fired for 12m 0s."]
    )


def near_its_budget(**share: float) -> bytes:
    """What an exporter says of agents and of the share of the day's tokens that each has used."""
    return "".join(
        f'agent_info{{agent_id="{name}",team="t"}} 1\n'
        f'agent_tokens_today{{agent_id="{name}"}} {100 * used}\n'
        f'agent_daily_token_budget{{agent_id="{name}"}} 100\n'
        for name, used in share.items()
    ).encode()


def text_of(alertmanager: Alertmanager) -> list[list[str]]:
    """The lines of each message sent to Slack."""
    return [sorted(body["attachments"][0]["text"].strip().splitlines()) for _, body in alertmanager.bodies]


@pytest.mark.slow
@pytest.mark.alone
def test_a_day_has_one_digest_with_what_fires_and_what_has_resolved(program, tmp_path):
    """Real servers and a real warning that resolves; what fires within the hour is for tomorrow. An hour is 30 s.

    Nothing can be sent after its group is gone, which it is some time after a second message would have been sent.
    """
    digest = tmp_path / "digest.rules.yml"
    told = [f"AgentDailyTokensNearBudget (warning) fired for 1m 0s: {name} of team t." for name in "ab"]
    with Answering(200, near_its_budget(a=0.9, b=0.9)) as agents, Alertmanager(
        program, tmp_path, secrets=True, faster=120
    ) as alertmanager:  # fmt: skip
        agents.headers = {"Content-Type": "text/plain; version=0.0.4"}
        for path in tmp_path.glob("*.rules.yml"):
            if path.name not in {"recording.rules.yml", "budget.rules.yml", "digest.rules.yml"}:
                path.unlink()  # they tell of servers that are not here
        with Prometheus(program, tmp_path, agents.url, alertmanager=alertmanager.url) as prometheus:

            def firing() -> set[str]:
                return {found["metric"]["agent_id"] for found in prometheus.query('ALERTS{alertstate="firing"}')}

            def groups() -> float:
                with urllib.request.urlopen(f"{alertmanager.url}/metrics") as page:
                    found = re.search(
                        r"^alertmanager_dispatcher_aggregation_groups (.*)$", page.read().decode(), re.MULTILINE
                    )
                return float(found[1])

            eventually(lambda: firing() == {"a", "b"})
            agents.answer = near_its_budget(a=0.9, b=0.1)
            eventually(lambda: firing() == {"a"})
            assert groups() == 1  # of the warnings, which is told to nobody
            begins = int(time.time()) + 2
            hour = f"(vector(time()) >= {begins} < {begins + 30})"
            digest.write_text(digest.read_text().replace("hour() == 9", hour))
            prometheus.reload()
            eventually(lambda: text_of(alertmanager) == [told])
            assert groups() == 2
            agents.answer = near_its_budget(a=0.9, b=0.1, c=0.9)
            eventually(lambda: prometheus.query('ALERTS{alertname="AgentDailyDigest", agent_id="c"}'))
            eventually(lambda: groups() == 1, within=150)
            assert time.time() > begins + 32
            assert text_of(alertmanager) == [told]


def test_the_digest_is_sent_once_a_day():
    """It lasts for an hour; the group may be sent again only when that is over, and what has resolved is not sent."""
    config = yaml.safe_load((RULES / "alertmanager.yml").read_text())
    [route] = [one for one in config["route"]["routes"] if one["receiver"] == "digest"]
    [digest] = [rule for rule in EVERY if rule.get("alert") == "AgentDailyDigest"]
    assert re.search(r"and on \(\) hour\(\) == \d+$", digest["expr"].strip())
    assert (route["group_by"], route["group_interval"], route["repeat_interval"]) == (["severity"], "1h", "12h")
    [receiver] = [one for one in config["receivers"] if one["name"] == "digest"]
    assert [slack["send_resolved"] for slack in receiver["slack_configs"]] == [False]


QUIETED = [
    ("AgentInCascade", "AgentErrorsBurning"),
    ("AgentLoop", "AgentErrorsBurning"),
    ("AgentDown", "AgentSilent"),
    ("AgentDown", "AgentModelUnreachable"),
    ("AgentExportersAllDown", "AgentExporterDown"),
    ("AgentExportersAllDown", "AgentLinesNotRead"),
    ("AgentCollectorsAllDown", "AgentCollectorDown"),
    ("AgentCollectorsAllDown", "AgentLogPipeDead"),
    ("AgentLogPipeDead", "AgentLinesNotRead"),
    ("AgentLinesNotRead", "AgentLinesNotCounted"),
    ("AgentUnwatched", "AgentDailyCostOverBudget"),
    ("AgentDailyTokensOverBudget", "AgentDailyTokensNearBudget"),
    ("AgentDailyCostOverBudget", "AgentDailyCostNearBudget"),
]


@pytest.mark.slow
def test_one_outage_is_one_page(program, tmp_path):
    """The cause is active and what follows from it is suppressed, until the cause is gone; another agent's is not."""
    with Alertmanager(program, tmp_path, secrets=False) as alertmanager:
        for cause, effect in QUIETED:
            alertmanager.fire(expected(cause), expected(effect))
            eventually(lambda effect=effect: alertmanager.state(effect) == "suppressed")
            assert alertmanager.state(cause) == "active"
            over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
            alertmanager.fire(expected(cause) | {"endsAt": over})
            eventually(lambda effect=effect: alertmanager.state(effect) == "active")
            alertmanager.fire(expected(effect) | {"endsAt": over})
        down = expected("AgentDown")
        alertmanager.fire(down | {"labels": down["labels"] | {"agent_id": "b"}}, expected("AgentSilent"))
        assert alertmanager.state("AgentSilent") == "active"


def heard(agents: dict[str, float | None], findings: dict[str, float]) -> bytes:
    """What an exporter says of agents: when each was heard last (None: now), and when a loop of each was found."""
    now = time.time()
    lines = [f'agent_exporter_last_line_timestamp_seconds{{source="logs"}} {now}']
    for name, last in agents.items():
        lines += [
            f'agent_info{{agent_id="{name}",team="t"}} 1',
            f'agent_expected_cycle_seconds{{agent_id="{name}"}} 5',
            f'agent_last_active_timestamp_seconds{{agent_id="{name}"}} {last or now}',
        ]
    lines += [f'agent_finding_timestamp_seconds{{agent_id="{name}",kind="loop"}} {at}' for name, at in findings.items()]
    return "\n".join([*lines, ""]).encode()


@pytest.mark.slow
@pytest.mark.alone
def test_one_exporter_and_one_collector_of_two_that_are_down_mute_what_rests_on_them_and_no_more(program, tmp_path):
    """Real servers. `here` and `there` are on an exporter each, `behind` is on a collector, `gone` was silent before.

    `hangs` falls silent and `loops` is found looping during the outage: both page. Waits are seconds in place of minutes.
    """
    began = time.time()
    one = {"here": None, "gone": began - 60.0}
    two = {"there": None, "hangs": None, "loops": None, "behind": None}
    found: dict[str, float] = {}
    plain = {"Content-Type": "text/plain; version=0.0.4"}
    with (
        Answering(200, lambda: heard(one, {})) as exporter,
        Answering(200, lambda: heard(two, found)) as other,
        Answering(200, b"\n") as collector,
        Answering(200, b"\n") as second,
        Alertmanager(program, tmp_path, secrets=True) as alertmanager,
    ):
        for server in (exporter, other, collector, second):
            server.headers = plain
        for path in tmp_path.glob("*.rules.yml"):
            text = re.sub(r"\b(interval|for): \d+[sm]$", r"\1: 1s", path.read_text(), flags=re.MULTILINE)
            # 20 evaluations, as 5 m are; of one alone, any that is late makes an alert seem over.
            text = text.replace("keep_firing_for: 5m", "keep_firing_for: 20s")
            path.write_text(text.replace("> 0) + 30)", "> 0) + 2)"))  # lines that come after a collector is down
        with Prometheus(
            program,
            tmp_path,
            exporter.url,
            other.url,
            collectors=(collector.url, second.url),
            alertmanager=alertmanager.url,
        ):
            name = {"AgentExporterDown": exporter.url, "AgentCollectorDown": collector.url}
            instance = {alert: url.removeprefix("http://") for alert, url in name.items()}
            silent = {("AgentSilent", "gone"): "active"}
            eventually(lambda: alertmanager.states() == silent | {("Watchdog", ""): "active"}, within=90)

            collector.status = 500
            two["behind"] = time.time()
            eventually(
                lambda: ("AgentCollectorDown", instance["AgentCollectorDown"]) in alertmanager.states(), within=90
            )
            exporter.status = 500
            two["hangs"] = found["loops"] = time.time() + 5.0
            both = dict.fromkeys(instance.items(), "active")
            marks = {("AgentUnwatched", agent): "active" for agent in one}
            page = {("AgentSilent", "hangs"): "active", ("AgentLoop", "loops"): "active"}
            expected = silent | both | marks | page | {("Watchdog", ""): "active"}
            eventually(lambda: alertmanager.states() == expected, within=90)
            told = {body["payload"]["summary"] for path, body in alertmanager.bodies if path == "/pagerduty"}
            assert told >= {"AgentExporterDown", "AgentCollectorDown", "AgentLoop: loops"}

            other.status = second.status = 500
            whole = {("AgentExportersAllDown", ""): "active", ("AgentCollectorsAllDown", ""): "active"}
            eventually(lambda: whole.items() <= alertmanager.states().items(), within=90)
            eventually(
                lambda: alertmanager.states()["AgentExporterDown", instance["AgentExporterDown"]] == "suppressed"
            )
            states = alertmanager.states()
            assert {state for (alert, _), state in states.items() if alert in instance} == {"suppressed"}
            assert silent.items() <= states.items()
            assert page[("AgentSilent", "hangs")] == states["AgentSilent", "hangs"]
            over = [
                body for path, body in alertmanager.bodies if path == "/pagerduty" and body["event_action"] == "resolve"
            ]
            assert over == []


@pytest.mark.slow
def test_every_runbooks_silence_is_taken_by_a_real_alertmanager_without_any_secret(program, tmp_path):
    """The command as it stands there; only the address differs."""
    with Alertmanager(program, tmp_path, secrets=False) as alertmanager:
        for path in sorted(RUNBOOKS.glob("*.md")):
            (line,) = re.findall(r"^    (amtool .*)$", path.read_text(), re.MULTILINE)
            assert re.fullmatch(r"[0-9a-f-]{36}\n", alertmanager.amtool(line))
            assert f"alertname={path.stem} " in line
        alertmanager.fire(expected("AgentLoop") | {"labels": expected("AgentLoop")["labels"] | {"agent_id": "AGENT"}})
        eventually(lambda: alertmanager.state("AgentLoop") == "suppressed")


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_a_kind_of_finding_pages_as_its_row_says(topic):
    """The table of kinds, the alert that fires for each, and its runbook."""
    alert = ALERTS[topic.alert]
    assert (alert["labels"]["severity"] == "critical") == topic.pages
    assert f'kind="{topic.name}"' in alert["expr"]
    assert (RUNBOOKS / f"{topic.alert}.md").exists()
