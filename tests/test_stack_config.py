"""docker-compose.yml and what it mounts: each server accepts its own, every service is hardened, nothing is unpinned."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml
from running import ROOT, Collector, Running, Sink, eventually, free_port

from agent_exporter.action import trace_id_of
from agent_exporter.cli import command
from agent_exporter.config import load

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
COLLECTOR = ROOT / "otel-collector"
ours = pytest.mark.parametrize("name", SERVICES)

HARDENED = {
    "a read-only root file system": lambda service: service["read_only"] is True,
    "no capability": lambda service: service["cap_drop"] == ["ALL"],
    "no new privileges": lambda service: service["security_opt"] == ["no-new-privileges:true"],
    "a memory limit": lambda service: bool(service["mem_limit"]),
    "a limit of processes": lambda service: service["pids_limit"] > 0,
    "logs that are rotated": lambda service: set(service["logging"]["options"]) >= {"max-size", "max-file"},
    "a pinned image": lambda service: re.search(r":v?\d+\.\d+\.\d+$", service["image"]) is not None,
    "ports on loopback alone": lambda service: all(port.startswith("127.0.0.1:") for port in service.get("ports", [])),
    "no host namespace": lambda service: (
        not service.keys() & {"network_mode", "pid", "ipc", "privileged", "userns_mode"}
    ),
    "no secret in its environment": lambda service: (
        not any(
            re.search("PASSWORD|TOKEN|SECRET|KEY", key) and not key.endswith("__FILE")
            for key in service.get("environment", {})
        )
    ),
    "files that nobody can write to": lambda service: all(
        volume.endswith(":ro") for volume in service.get("volumes", []) if volume.startswith((".", "/"))
    ),
}


@ours
@pytest.mark.parametrize("what", HARDENED)
def test_every_service_has(name, what):
    """A table of what each one must have."""
    assert HARDENED[what](SERVICES[name])


@ours
def test_every_service_but_the_log_reader_runs_as_nobody_in_particular(name):
    """Docker's log files are root's; their reader has one capability, and nobody else has any."""
    service = SERVICES[name]
    if name == "otel-collector":
        assert (service["user"], service["cap_add"]) == ("0:0", ["DAC_READ_SEARCH"])
    else:
        assert service["user"].split(":")[0] != "0"
        assert "cap_add" not in service


@ours
def test_every_service_tells_how_it_is(name):
    """By itself, or where its image has nothing to ask with, by another one; what runs once tells by its exit code."""
    told_otherwise = {"secrets", "otel-collector"}
    assert ("test" in SERVICES[name].get("healthcheck", {})) is (name not in told_otherwise)
    assert "http://otel-collector:13133/" in str(SERVICES["collector-health"]["healthcheck"])


@ours
def test_every_service_is_opened_by_one_sentence(name):
    """So that the file can be read from top to bottom."""
    assert re.search(
        rf"\n\n?  # [A-Z][^\n]+\.\n  {name}:\n|\n  # [A-Z][^\n]+:[^\n]+\.\n  {name}:\n",
        (ROOT / "docker-compose.yml").read_text(),
    )


def test_agents_reach_the_exporter_and_the_collector_alone():
    """Alertmanager takes silences from whoever reaches it, and Prometheus samples."""
    near = {name for name, service in SERVICES.items() if "agents" in service.get("networks", ())}
    assert near == {"exporter", "otel-collector", "demo"}
    assert SERVICES["demo"]["networks"] == ["agents"]


def test_the_image_is_built_once_and_looked_for_in_no_registry():
    """Compose says Error of each service whose image it cannot pull, and builds it then: it frightens newcomers."""
    ours = [service for service in SERVICES.values() if service["image"].startswith("agent-exporter:")]
    assert {service["pull_policy"] for service in ours} == {"never"}
    assert [service.get("build") for service in ours if "build" in service] == ["."]


MOUNTED = sorted(
    {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }
)


@pytest.mark.parametrize("path", MOUNTED)
def test_every_mounted_file_exists(path):
    """Docker would make an empty folder in its place, and say nothing."""
    assert (ROOT / path).exists()


def test_every_named_volume_is_declared_and_used():
    """No more and no less."""
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("percent", ["", "10"])
def test_compose_accepts_the_file_and_one_variable_brings_sampling(percent):
    """Without it there is no tail sampling, and the exporter holds nothing."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail("docker compose is not at hand")
        pytest.skip("DOCKER COMPOSE IS NOT AT HAND")
    done = subprocess.run(
        ["docker", "compose", "--profile", "demo", "config", "--format", "json"],
        cwd=ROOT,
        env=os.environ | {"SAMPLE_PERCENT": percent},
        capture_output=True,
        text=True,
        check=True,
    )
    services = json.loads(done.stdout)["services"]
    assert ("--config=/etc/otelcol/sampling.yaml" in services["otel-collector"]["command"]) is bool(percent)
    assert ("--otlp.buffer-traces" in services["exporter"]["command"]) is bool(percent)


def test_the_exporters_config_is_fine_and_knows_the_demos_fleet():
    """The same agents and budgets as `agent-exporter demo` has, by patterns: where no demo runs, nobody misses them."""
    assert command(["check-config", str(ROOT / "docker" / "stack.yaml")]) == 0
    ours_, demo = (
        yaml.safe_load((ROOT / path).read_text())
        for path in ("docker/stack.yaml", "exporter/agent_exporter/demo/config.yaml")
    )
    config = load(ROOT / "docker" / "stack.yaml")
    assert config.names() == []
    assert all(config.agent(name).expected_interval == 10 for name in demo["agents"])
    ours_["agents"] = {name.replace("[1]", "1"): agent for name, agent in ours_["agents"].items()}
    assert {key: ours_[key] for key in demo} == demo


# --- each server on its own configuration -----------------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path):
    """What the one-shot service makes, made by its own script."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    make(folder)
    return folder


def make(folder) -> str:
    return subprocess.run(
        [sys.executable, ROOT / "docker" / "make_secrets.py", folder, ROOT / "docker" / "stack.yaml"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_secrets_are_made_once_and_told_by_a_command_alone(secrets):
    """A second start changes nothing, and prints no secret."""
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    printed = make(secrets)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert set(before) == {
        "token", "exporter_token", "grafana_password", "configured_agents", "pagerduty_key", "slack_url", "watchdog_url",
    }  # fmt: skip
    assert "docker compose exec grafana cat /run/stack-secrets/grafana_password" in printed
    assert not any(before[name] in printed for name in ("token", "grafana_password"))
    assert len(before["token"]) >= 40
    assert before["configured_agents"].startswith("planner-0[1]|researcher-0[1]|")


def test_what_a_service_reads_of_the_secrets_is_made(secrets):
    """The names in the servers' files are the names of the files."""
    for path in (ROOT / "alert_rules" / "alertmanager.yml", ROOT / "alert_rules" / "prometheus.yml"):
        for name in re.findall(r"^[^#\n]*file: /etc/\w+/secrets/(\w+)", path.read_text(), re.MULTILINE):
            assert (secrets / name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("more", [["extras.yaml"], ["extras.yaml", "sampling.yaml"]], ids=["all traces", "a share"])
def test_the_collector_accepts_its_configuration(program, secrets, tmp_path, more):
    """otelcol validate."""
    otelcol = program("otelcol")
    config = tmp_path / "config.yaml"
    config.write_text((COLLECTOR / "config.yaml").read_text().replace("/secrets/", f"{secrets}/"))
    files = [f"--config={path}" for path in (config, *(COLLECTOR / name for name in more))]
    done = subprocess.run(
        [otelcol, "validate", *files], env=os.environ | {"SAMPLE_PERCENT": "10"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_tail_sampling_is_in_no_pipeline_of_the_default():
    """At 100 % nothing waits in memory; and no batch processor anywhere."""
    config = yaml.safe_load((COLLECTOR / "config.yaml").read_text())
    used = {
        name.split("/")[0] for pipeline in config["service"]["pipelines"].values() for name in pipeline["processors"]
    }
    assert not used & {"tail_sampling", "batch"}
    for exporter in config["exporters"].values():
        assert exporter["sending_queue"]["storage"] == "file_storage"
        assert exporter["retry_on_failure"]["max_elapsed_time"] == 0


@pytest.mark.slow
def test_loki_accepts_its_configuration(program):
    """loki -verify-config."""
    done = subprocess.run(
        [program("loki"), "-verify-config", f"-config.file={COLLECTOR / 'loki.yaml'}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_tempo_accepts_its_configuration(program, monkeypatch):
    """tempo -config.verify. Not in any kit of servers: it is tested where TEMPO_BIN names one, and REQUIRE_SERVERS does not ask."""
    monkeypatch.delenv("REQUIRE_SERVERS", raising=False)
    done = subprocess.run(
        [program("tempo"), "-config.verify", f"-config.file={COLLECTOR / 'tempo.yaml'}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# --- what the collector makes of a line -------------------------------------------------------------------------------

NASTY = [
    {"agent_id": "planner-01", "session_id": "s-1", "parent_trace_id": "trace_4c9e2f", "status": "success"},
    {"agent_id": "planner-01", "session_id": "s-2", "parent_trace_id": "ABCDEF0123456789ABCDEF0123456789", "status": "error"},
    {"agent_id": "invented-7", "session_id": "s-3", "parent_trace_id": "0" * 32, "status": "cancelled"},
    {"agent_id": "planner-01x", "session_id": "s-4", "trace_id": "0123456789abcdef0123456789abcdef", "parent_trace_id": "x", "status": "timeout"},
    {"agent_id": "writer-01", "session_id": "käse", "status": "success"},
]  # fmt: skip
SECRETS = {
    "api_key": "0123456789-not-to-be-seen",
    "text": "Authorization: Bearer abcdef0123456789 and sk-abcdefghijklmnop0123 and AKIAABCDEFGHIJKLMNOP",
    "password": 'a "quoted" one',
    "tokens": 12,
}
CONTENT = "my words"


def record(**fields: object) -> dict:
    """A line of an agent."""
    return {
        "timestamp": "2026-03-18T09:15:32.441Z",
        "action": "search",
        "input": SECRETS,
        "output": {"confidence": 0.5},
    } | fields


def lines_of_all_sorts() -> list[str]:
    """Agents' lines, two that are nobody's, and a finding of the exporter."""
    lines = [json.dumps(record(**line)) for line in NASTY] + ["plain text", '{"no": "agent"}']
    lines.append('{"kind":"loop","agent_id":"writer-01","session_id":"s","trace_id":"' + "a" * 32 + '","at":"x"}')
    return lines


def through_the_collector(program, secrets, tmp_path, lines, *, count=None, parsed=False, **environment) -> list[dict]:
    """The records of Loki's branch, as a file exporter writes them in Loki's place.

    `count` of them are waited for, by default as many as lines; `parsed` bodies are maps, as others' collectors send.
    """
    logs = tmp_path / "agents"
    logs.mkdir()
    out = tmp_path / "out.json"
    config = yaml.safe_load((COLLECTOR / "config.yaml").read_text().replace("/secrets/", f"{secrets}/"))
    receiver = config["receivers"]["file_log/files"] | {"include": [f"{logs}/*.log"]}
    receiver["operators"] += [{"type": "json_parser", "parse_to": "body"}] if parsed else []
    receiver["operators"].append({"type": "add", "field": "attributes.auth_token", "value": CONTENT})
    receiver["operators"].append({"type": "add", "field": "attributes.prompt", "value": CONTENT})
    config["receivers"] = {"file_log/files": receiver}
    config["extensions"]["file_storage"]["directory"] = str(tmp_path / "storage")
    config["exporters"] = {"file": {"path": str(out), "flush_interval": "100ms"}}
    config["service"]["extensions"] = ["file_storage"]
    config["service"]["telemetry"] = {"metrics": {"level": "none"}}
    pipeline = config["service"]["pipelines"]["logs/read_for_loki"]
    config["service"]["pipelines"] = {"logs": pipeline | {"receivers": ["file_log/files"], "exporters": ["file"]}}
    (logs / "a.log").write_text("\n".join(lines) + "\n")
    for key, value in environment.items():
        os.environ[key] = value
    try:
        with Collector(program("otelcol"), yaml.safe_dump(config), tmp_path):
            eventually(lambda: out.exists() and out.read_text().count('"body"') >= (count or len(lines)))
    finally:
        for key in environment:
            del os.environ[key]
    records = []
    for row in out.read_text().splitlines():
        for resource in json.loads(row)["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                for found in scope["logRecords"]:
                    attributes = {pair["key"]: pair["value"].get("stringValue") for pair in found["attributes"]}
                    records.append(attributes | {"body": found["body"]["stringValue"]})
    return records


@pytest.mark.slow
def test_loki_finds_a_line_by_the_trace_id_that_tempo_has_and_by_bounded_labels(program, secrets, tmp_path):
    """Ids are the exporter's; a name that the config does not know is `other`; what is no agent's line is not there."""
    records = through_the_collector(program, secrets, tmp_path, lines_of_all_sorts(), count=6)
    names = ("service_name", "agent", "level", "agent_id", "session_id", "trace_id")
    own = trace_id_of("writer-01\0käse")
    assert [tuple(record.get(name) for name in names) for record in records] == [
        ("agents", "planner-01", "info", "planner-01", "s-1", trace_id_of("trace_4c9e2f")),
        ("agents", "planner-01", "error", "planner-01", "s-2", "abcdef0123456789abcdef0123456789"),
        ("agents", "other", "warn", "invented-7", "s-3", trace_id_of("0" * 32)),
        ("agents", "other", "error", "planner-01x", "s-4", "0123456789abcdef0123456789abcdef"),
        ("agents", "writer-01", "info", "writer-01", "käse", own),
        ("agent-exporter", "writer-01", "warn", "writer-01", "s", "a" * 32),
    ]
    body = json.loads(records[0]["body"])
    assert body["input"] == {
        "api_key": "****", "text": "Authorization: Bearer **** and **** and ****", "password": "****", "tokens": 12,
    }  # fmt: skip
    assert body["output"] == {"confidence": 0.5}


def nested(value: object) -> str:
    """JSON within a string, as models call tools."""
    return json.dumps(value)


KEY = "abcdefghijklmnop0123"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
MASKED = [
    # by name, as JSON
    ({"password": 'a "quoted" one\\'}, {"password": "****"}),
    ({"client_secret": "x", "user": "u"}, {"client_secret": "****", "user": "u"}),
    ({"a": {"accessToken": "x"}, "b": [{"api-key": "x"}]}, {"a": {"accessToken": "****"}, "b": [{"api-key": "****"}]}),
    ({"token": "x", "auth_token": "x", "refresh_token": "x"}, {"token": "****", "auth_token": "****", "refresh_token": "****"}),
    ({"private_key": "x", "DJANGO_KEY": "x", "pwd": ""}, {"private_key": "****", "DJANGO_KEY": "****", "pwd": "****"}),
    ({"password": 123456789, "pin": 1}, {"password": "****", "pin": 1}),
    ({"secrets": ["a]", "b"], "c": ["d"]}, {"secrets": "****", "c": ["d"]}),
    ({"credentials": {"user": "u", "pass": "}"}}, {"credentials": "****"}),
    ({"password": None, "secrets": [["a"], {"password": None, "token": "x"}]}, {"password": None, "secrets": [["a"], {"password": None, "token": "****"}]}),
    ({"headers": {"Authorization": "Basic dTpw"}}, {"headers": {"Authorization": "****"}}),
    # as JSON in a string, and once more
    ({"args": nested({"password": "hunter2secret", "api_key": "x", "q": 1})}, {"args": nested({"password": "****", "api_key": "****", "q": 1})}),
    ({"args": nested({"password": 'a "quoted" one, \\', "q": "käse"})}, {"args": nested({"password": "****", "q": "käse"})}),
    ({"args": nested({"password": "", "n": 5, "secrets": ["a", "b"], "token": 7})}, {"args": nested({"password": "****", "n": 5, "secrets": "****", "token": "****"})}),
    ({"args": nested({"call": nested({"password": 'a "quoted" one', "q": "x"}), "user": "u"})}, {"args": nested({"call": nested({"password": "****", "q": "x"}), "user": "u"})}),
    ({"args": nested({"call": nested({"password": 5, "secrets": {"a": "b"}})})}, {"args": nested({"call": nested({"password": "****", "secrets": "****"})})}),
    ({"args": '{"password": "cut o'}, {"args": '{"password": "****"'}),
    ({"args": nested({"call": '{"password": "cut o'}), "q": "x"}, {"args": nested({"call": '{"password": "****"'}), "q": "x"}),
    # by name, in texts
    ("GET https://a.b/c?api_key=qwe12345&token=abc&page=2", "GET https://a.b/c?api_key=****&token=****&page=2"),
    ("export AWS_SECRET_ACCESS_KEY=abc/+1\nOPENAI_API_KEY='a b'\nHOME=/root", "export AWS_SECRET_ACCESS_KEY=****\nOPENAI_API_KEY='****'\nHOME=/root"),
    ('DB_PASSWORD="a b" ./run', 'DB_PASSWORD="****" ./run'),
    ("{'password': 'a b', 'user': 'u'}", "{'password': '****', 'user': 'u'}"),
    ("password: hunter2secret\nuser: u", "password: ****\nuser: u"),
    ('curl -H "Authorization: Basic dTpw" -u admin:topsecret https://u:p@a.b/', 'curl -H "Authorization: Basic ****" -u admin:**** https://****@a.b/'),
    (["curl", "-u", "admin:topsecret", "redis://:pw@a:6379"], ["curl", "-u", "admin:****", "redis://****@a:6379"]),
    # by shape
    (f"Bearer abcdef0123456789, sk-{KEY}\nsk_live_{KEY}", "Bearer ****, ****\n****"),
    (f"ghp_{KEY * 2} github_pat_{KEY * 2} xoxb-123-{KEY} AKIAABCDEFGHIJKLMNOP", "**** **** **** ****"),
    ({"args": nested({"text": f"a\n{JWT}\tb"})}, {"args": nested({"text": "a\n****\tb"})}),
    ("a -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- b", "a **** b"),
]  # fmt: skip
LEFT = [
    {"tokens": {"prompt": 12, "completion": 3}, "prompt_tokens": 1, "max_tokens": 4096, "token_type": "Bearer", "token_count": 2},
    {"args": nested({"tokens": {"prompt": 12}, "max_tokens": 4096, "token_type": "x"})},
    {"ask": "enter password:", "then": "x", "say": "the password", "a": 'token:"', "b": "pwd=\\"},
    "max_tokens=12&next=/a/b:c@d tokens: 12, the secret ingredient, a key: value, disk-usage-is-not-a-key-at-all",
]  # fmt: skip
"""What is no secret, or is none of these: it comes out as it goes in."""


S = "ZzSECRETzZ99abcdefABCDEF0123456789"
H = "0123456789abcdef0123456789abcdef0123456789abcdef"
OF_PROVIDERS = [
    f"Authorization: Token {S}",
    f"Authorization: ApiKey {S}",
    f'authorization: Digest username="u", response="{S}"',
    f"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, Signature={S}",
    f"Cookie: a=1; sid={S}; b=2",
    f"Set-Cookie: sid=x{S}; Path=/; HttpOnly",
    f"curl -H 'Authorization: Token {S}' https://a",
    {"headers": {"Cookie": f"a=1; b={S}"}},
    {"headers": [f"Authorization: Token {S}"]},
    f"password: ab&{S}",
    f"password=ab;{S}",
    f"password: it's{S}",
    f"password=a/{S}",
    f"DB_PASSWORD=x&y;{S} next",
    f"PGPASSWORD='x&{S}' psql",
    f"--password={S}",
    f"--password {S}",
    f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{S}\n{S}",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\nMIIE{S}",
    f"gsk_{S}",
    f"xai-{S}",
    f"pplx-{S}",
    f"tvly-{S}",
    f"lsv2_pt_{S}",
    f"npm_{S}",
    f"pypi-AgEIcHlwaS5vcmc{S}",
    f"dckr_pat_{S}",
    f"SG.{S}.{S}",
    f"ya29.{S}",
    f"hvs.{S}",
    f"shpat_{H}",
    f"whsec_{S}",
    f"AccountKey={S}==;EndpointSuffix",
    f"123456789:AAF{S[:32]}",
    f"glsa_{S}_12345678",
    f"r8_{S}",
    f"nvapi-{S}",
    f"sk-ant-api03-{S}",
    f"sk-proj-{S}",
    f"sk-or-v1-{S}",
    f"xapp-1-{S}",
    f"lin_api_{S}",
    f"secret_{S}",
    f"ntn_{S}",
    f"GOCSPX-{S}",
    f"glpat-{S}",
    f"dop_v1_{H}",
    f"https://a/b?sig={S}&x=1",
    f"https://a/b?X-Amz-Signature={S}",
    f"https://hooks.slack.com/services/T0000/B0000/{S}",
    f"https://discord.com/api/webhooks/123456789/{S}",
    f"postgres://u:{S}@h/db",
    f"mongodb+srv://u:p%40{S}@h",
    f"redis://:{S}@h",
    {"api_key": S},
    {"x-api-key": S},
    {"apikey": S},
    {"bearer": S},
    {"passwd": S},
    {"client_secret": S},
    {"aws_secret_access_key": S},
    {"connectionString": f"Server=a;Password={S};"},
    {"webhook_secret": S},
    {"jwt": S},
    {"private_key_id": S},
    f"Proxy-Authorization: Basic {S}",
    f"X-Api-Key: {S}",
    f"{{'token': '{S}'}}",
    f"token=>{S}",
    f'{{\\"apiKey\\": \\"{S}\\"}}',
    f"OPENAI_API_KEY={S}",
    f"export FOO_TOKEN={S}",
    f"GITHUB_TOKEN: {S}",
    f"refresh_token={S}&a=1",
    f"passphrase: {S}",
    f"access_key={S}",
    f"X-Vault-Token: {S}",
    f"X-Auth-Token: {S}",
    f"bearer {S}",
    f"npm config set //registry/:_authToken={S}",
    f"//registry/:_authToken={S}",
    f"machine a login u password {S}",
    f"sq0csp-{S}",
    f"NRAK-{S}",
    f"key-{H[:32]}",
    f"pat{S[:14]}.{H}",
    f"AIza{S[:34]}z",
    f"ASIA{'A' * 16}",
    f"aws_session_token={S}",
    f"hf_{S}",
    f"Ocp-Apim-Subscription-Key: {S}",
    f"phc_{S}",
    f"dp.st.dev.{S}",
    f"fw_{S}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJ{S}.{S}",
    f"SharedAccessKey={S}=",
]
"""Tokens of the providers that agents use most, headers, and values with any character: S and H are the secrets."""


@pytest.mark.slow
def test_the_tokens_of_providers_are_masked_wherever_they_stand(program, secrets, tmp_path):
    """In content, in ids and in what stands beside the line."""
    lines = [
        json.dumps(record(agent_id="planner-01", session_id=f"s{number}", status="success", input=text))
        for number, text in enumerate(OF_PROVIDERS)
    ]
    lines.append(json.dumps(record(agent_id="planner-01", session_id=f"ghp_{S}", status="success", input="x")))
    records = through_the_collector(program, secrets, tmp_path, lines)
    assert len(records) == len(lines)
    shown = [json.dumps(found) for found in records]
    assert [text for text in shown if S in text or H in text or S[:14] in text] == []
    assert all(json.loads(found["body"])["agent_id"] for found in records)


@pytest.mark.slow
@pytest.mark.parametrize("parsed", [False, True], ids=["body as text", "body parsed into a map"])
def test_secrets_are_masked_and_a_line_stays_json(program, secrets, tmp_path, parsed):
    """One table of what goes in and what comes out."""
    table = MASKED + [(given, given) for given in LEFT]
    ids = {"agent_id": "a", "session_id": "s", "status": "success", "tokens": {"prompt": 12}}
    lines = [json.dumps(record(**ids, input=given, at=at)) for at, (given, _) in enumerate(table)]
    records = through_the_collector(program, secrets, tmp_path, lines, parsed=parsed)
    found = {line["at"]: line for line in (json.loads(record["body"]) for record in records)}
    assert [(given, found[at]["input"]) for at, (given, _) in enumerate(table)] == table
    assert all(line == record(**ids, input=line["input"], at=at) for at, line in found.items())
    assert all(record["prompt"] and "auth_token" not in record for record in records)


def test_what_goes_to_the_exporter_is_not_touched():
    """Loops are found by comparing inputs: nothing is masked there."""
    pipelines = yaml.safe_load((COLLECTOR / "config.yaml").read_text())["service"]["pipelines"].values()
    used = {
        name
        for pipeline in pipelines
        if "otlp_http/agent_exporter" in pipeline["exporters"]
        for name in pipeline["processors"]
    }
    assert used == {"memory_limiter", "filter/agents", "transform/nobody"}


HARMLESS = {
    "timestamp": "2026-03-18T09:15:32.441Z", "agent_id": "planner-01", "session_id": "s", "action": "search", "status": "error",
    "duration_ms": 5, "parent_trace_id": "t", "trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "1", "parent_span_id": "0" * 15 + "2",
    "tokens": {"prompt": 1, "completion": 2, "cache_read": 3, "cache_write": 4, "model": "m", "cost_usd": 0.5},
    "error": {"type": "E"},
    "output": {"confidence": 0.5, "state": "idle", "error": {"type": "E"}},
    "metadata": {
        "retry_count": 1, "fallback_used": True, "task_type": "t", "team": "t", "parent_agent_id": "p",
        "session_end": True, "task_completed": False, "feedback": 0.5,
    },
}  # fmt: skip
WITH_CONTENT = [
    {"input": {"q": CONTENT}, "output": CONTENT, "error": CONTENT},
    {"input": CONTENT, "output": {"error": CONTENT, "detail": CONTENT, "text": CONTENT}},
    {"error": {"type": "E", "message": CONTENT, "stack": CONTENT}, "output": {"error": {"type": "E", "message": CONTENT}}},
    {"prompt": CONTENT, "messages": [{"content": CONTENT}], "metadata": {"user_query": CONTENT, "team": "t"}, "evidence": {"a": CONTENT}},
    {"status": [CONTENT], "duration_ms": CONTENT, "tokens": {"prompt": CONTENT, "x": CONTENT}, "metadata": CONTENT, "action": {"a": CONTENT}},
    {"action": "a" * 300 + CONTENT, "error": [CONTENT], "tokens": [CONTENT]},
]  # fmt: skip


def dotted(line: dict, prefix: str = "") -> dict:
    """The fields of a line under dotted names."""
    found = {}
    for key, value in line.items():
        found |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("parsed", [False, True], ids=["body as text", "body parsed into a map"])
def test_one_switch_keeps_content_out_of_loki(program, secrets, tmp_path, parsed):
    """What the schema names and is no content stays, and nothing else; of what is no record, its length."""
    finding = {
        "kind": "loop",
        "agent_id": "a",
        "session_id": "s",
        "at": "x",
        "evidence": {"loop": "repeat", "times": 4},
    }
    lines = [json.dumps(line) for line in (HARMLESS, finding, *(HARMLESS | given for given in WITH_CONTENT))]
    no_records = ['{"agent_id": 5, "x": "my words"}'] + ([] if parsed else ['{"agent_id": "a", my words'])
    records = through_the_collector(
        program, secrets, tmp_path, lines + no_records, parsed=parsed, LOGS_WITHOUT_CONTENT="true"
    )
    bodies = [json.loads(record["body"]) for record in records]
    assert bodies[0] == dotted(HARMLESS)
    assert bodies[1] == dotted(finding)
    assert [record for record in records if CONTENT in str(record)] == []
    for given, body in zip(WITH_CONTENT, bodies[2:], strict=False):
        kept = {key: value for key, value in dotted(HARMLESS).items() if key.split(".")[0] not in given}
        assert body.items() >= kept.items()
        assert body.keys() <= dotted(HARMLESS).keys()
    if parsed:
        assert bodies[-1] == {"note": "no record, 29 bytes"}
    else:
        assert bodies[-2:] == [{"note": f"no record, {len(line)} bytes"} for line in no_records]


# --- what the collector makes of spans --------------------------------------------------------------------------------


def tracing(program, tmp_path, sink, *more: str) -> tuple[Collector, str]:
    """The collector's pipeline of traces, as it is, with a receiver of ours in Tempo's place; and where it listens."""
    files = [yaml.safe_load((COLLECTOR / name).read_text()) for name in ("config.yaml", *more)]
    config, port = files[0], free_port()
    config["receivers"] = {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}}
    queue = config["exporters"]["otlp_grpc/tempo"]["sending_queue"]
    config["exporters"] = {"otlp_http": {"endpoint": sink.url, "sending_queue": queue}}
    config["extensions"] = {"file_storage": {"directory": f"{tmp_path}/queue", "create_directory": True}}
    pipeline = config["service"]["pipelines"]["traces"]
    for other in files[1:]:
        config["processors"] |= other["processors"]
        pipeline |= other["service"]["pipelines"]["traces"]
    config["processors"] = {name: config["processors"][name] for name in pipeline["processors"]}
    config["service"] = {
        "extensions": ["file_storage"],
        "telemetry": {"metrics": {"level": "none"}},
        "pipelines": {"traces": pipeline | {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
    }
    return Collector(program("otelcol"), yaml.safe_dump(config), tmp_path), f"http://127.0.0.1:{port}"


def session(
    name: str, *, seconds: float = 1, tokens: int = 10, status: str = "success", retries: int = 0
) -> list[dict]:
    """The lines of a task that has just ended; its trace has an id that is the same in every run."""
    now = datetime.now(UTC)
    line = {
        "agent_id": "a",
        "session_id": name,
        "trace_id": sha256(name.encode()).hexdigest()[:32],
        "action": "llm_call",
        "status": status,
        "duration_ms": 5,
        "input": "the same",
        "tokens": {"prompt": tokens, "completion": 0},
    }
    first = {"timestamp": (now - timedelta(seconds=seconds)).isoformat(), "metadata": {"retry_count": retries}}
    last = {"timestamp": now.isoformat(), "status": "success", "input": "the last", "metadata": {"session_end": True}}
    return [line | first, line | last]


@pytest.mark.slow
def test_a_share_of_the_traces_is_kept_and_all_in_which_something_happened(program, tmp_path, monkeypatch):
    """The exporter's own spans through the shipped sampling: an error, a finding, many tokens or a long time keep a trace."""
    monkeypatch.setenv("SAMPLE_PERCENT", "10")
    told = {
        "an error": session("an error", status="error"),
        "a finding": session("a finding", retries=5),
        "many tokens": session("many tokens", tokens=10_000),
        "a long time": session("a long time", seconds=70),
    }
    healthy = 300
    lines = [line for said in told.values() for line in said]
    lines += [line for number in range(healthy) for line in session(f"healthy {number}")]
    log = tmp_path / "agents.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Sink() as sink:
        collector, url = tracing(program, tmp_path, sink, "sampling.yaml")
        with collector, Running("--otlp.endpoint", url, "--otlp.buffer-traces", "10m", log) as running:
            spans = len(lines) + len(told) + healthy  # of actions and of sessions
            eventually(lambda: running.total("agent_exporter_spans_sent_total") >= spans)

            def kept() -> set[str]:
                return {span.trace_id.hex() for _, span in sink.spans.values()}

            expected = {said[0]["trace_id"] for said in told.values()}
            eventually(lambda: expected <= kept(), within=40)
            # Decided on together, and sent within a moment: the share does not grow any more.
            eventually(lambda: (before := len(kept())) and not time.sleep(1) and len(kept()) == before)
            found = kept()
    rest = found - expected
    assert 0.04 * healthy < len(rest) < 0.2 * healthy
    # And each is whole.
    sent = [line["trace_id"] for line in lines if line["trace_id"] in found]
    actions = [span for _, span in sink.spans.values() if span.name.startswith("chat")]
    assert len(actions) == len(sent)


@pytest.mark.slow
def test_what_agents_own_spans_quote_is_taken_out_and_secrets_are_masked(program, tmp_path):
    """Whatever their SDK calls it; what a span is about stays."""
    quoted = {
        "gen_ai.input.messages": "a prompt", "gen_ai.output.messages": "an answer", "gen_ai.system_instructions": "a prompt",
        "gen_ai.prompt.0.content": "a prompt", "gen_ai.completion": "an answer", "gen_ai.tool.call.arguments": "a prompt",
        "input.value": "a prompt", "llm.input_messages.0.message.content": "a prompt", "traceloop.entity.output": "an answer",
    }  # fmt: skip
    stays = {"gen_ai.agent.name": "a", "gen_ai.request.model": "m"}
    stays |= {"gen_ai.usage.input_tokens": "12", "gen_ai.request.max_tokens": "4096", "gen_ai.token.type": "input"}
    secret = {
        "http.request.header.authorization": ("abc", "****"),
        "auth_token": ("abc", "****"),
        "note": (f"it was sk-{KEY}, and Bearer abcdefgh12345", "it was ****, and ****"),
        "url.full": (
            "https://u:p@a.b/c?api_key=qwe12345&token=abc&page=2",
            "https****a.b/c?****&****&page=2",
        ),
        "args": ('{"n": "5", "password": "x"} {\\"secret\\": \\"x\\"}', '{"n": "5", "****"} {\\"****\\"}'),
        "command": ("AWS_SECRET_ACCESS_KEY=abc curl -u admin:pw", "AWS_**** curl****"),
    }
    sent = quoted | stays | {key: given for key, (given, _) in secret.items()}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in sent.items()]
    event = {"timeUnixNano": "1", "name": "exception", "attributes": [
        {"key": "exception.type", "value": {"stringValue": "ValueError"}},
        {"key": "exception.message", "value": {"stringValue": "a prompt"}},
    ]}  # fmt: skip
    span = {
        "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "name": "chat m", "startTimeUnixNano": "1",
        "endTimeUnixNano": "2", "attributes": attributes, "events": [event],
    }  # fmt: skip
    body = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]},
                               "scopeSpans": [{"spans": [span]}]}]}  # fmt: skip
    with Sink() as sink:
        collector, url = tracing(program, tmp_path, sink)
        request = urllib.request.Request(
            f"{url}/v1/traces", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )

        def send() -> bool:
            with suppress(OSError), urllib.request.urlopen(request, timeout=5):
                return True
            return False

        with collector:
            eventually(send)
            eventually(lambda: sink.spans)
    [(_, found)] = sink.spans.values()
    kept = {pair.key: pair.value.string_value for pair in found.attributes}
    assert not kept.keys() & quoted.keys()
    assert kept.items() >= stays.items()
    assert {key: kept[key] for key in secret} == {key: masked for key, (_, masked) in secret.items()}
    assert [pair.key for pair in found.events[0].attributes] == ["exception.type"]


@pytest.mark.slow
def test_loki_by_itself_evaluates_its_rule_and_writes_it_to_prometheus(program, tmp_path):
    """The shipped configuration and rule, with nothing but its paths and addresses changed."""
    written: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            written.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    prometheus = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=prometheus.serve_forever, daemon=True).start()
    port, grpc = free_port(), free_port()
    text = (COLLECTOR / "loki.yaml").read_text().replace("/loki", f"{tmp_path}/loki")
    text = text.replace("/etc" + f"{tmp_path}/loki/rules", str(ROOT / "alert_rules/loki"))
    config = yaml.safe_load(text.replace("http://prometheus:9090", f"http://127.0.0.1:{prometheus.server_port}"))
    config["server"] |= {
        "http_listen_address": "127.0.0.1", "http_listen_port": port,
        "grpc_listen_address": "127.0.0.1", "grpc_listen_port": grpc,
    }  # fmt: skip
    config["frontend"] = {"address": "127.0.0.1", "port": grpc}
    file = tmp_path / "loki.yaml"
    file.write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{port}"

    def get(path: str) -> str:
        with suppress(OSError), urllib.request.urlopen(url + path, timeout=5) as answer:
            return answer.read().decode()
        return ""

    with subprocess.Popen(
        [program("loki"), f"-config.file={file}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as loki:
        try:
            eventually(lambda: get("/ready").startswith("ready"), within=60)
            values = [[str(time.time_ns()), "{}", {"agent_id": "planner-01"}]]
            labels = {"service_name": "agents", "level": "info", "agent": "planner-01"}
            push = {"streams": [{"stream": labels, "values": values}]}
            request = urllib.request.Request(
                f"{url}/loki/api/v1/push", json.dumps(push).encode(), {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=10).close()
            [group] = eventually(
                lambda: json.loads(get("/prometheus/api/v1/rules") or "{}").get("data", {}).get("groups"), within=60
            )
            # Snappy leaves short words as they are.
            eventually(lambda: any(b"planner-01" in body for body in written), within=100, every=0.5)
            rules = json.loads(get("/prometheus/api/v1/rules"))["data"]["groups"][0]["rules"]
        finally:
            loki.kill()
            prometheus.shutdown()
            prometheus.server_close()
    assert group["name"] == "lines"
    assert {rule["name"]: rule["health"] for rule in rules} == {
        "agent:loki_lines:count5m": "ok",
        "agents:loki_lines:count5m": "ok",
    }
