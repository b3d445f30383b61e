"""docker-compose.yml and what it mounts: each server accepts its own, every service is hardened, nothing is unpinned."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from running import ROOT, Collector, eventually

from exporter.action import trace_id_of
from exporter.cli import command

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
    assert ("--otlp.hold" in services["exporter"]["command"]) is bool(percent)


def test_the_exporters_config_is_fine_and_knows_the_demos_fleet():
    """The same agents and budgets as `agent-exporter demo` has."""
    assert command(["check-config", str(ROOT / "docker" / "stack.yaml")]) == 0
    ours_, demo = (
        yaml.safe_load((ROOT / path).read_text()) for path in ("docker/stack.yaml", "exporter/demo/config.yaml")
    )
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
        env=os.environ | {"PYTHONPATH": str(ROOT)},
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
    assert before["configured_agents"].startswith("planner-01|")


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


def through_the_collector(program, secrets, tmp_path, **environment) -> list[dict]:
    """The records of Loki's branch, as a file exporter writes them in Loki's place."""
    logs = tmp_path / "agents"
    logs.mkdir()
    out = tmp_path / "out.json"
    config = yaml.safe_load((COLLECTOR / "config.yaml").read_text().replace("/secrets/", f"{secrets}/"))
    config["receivers"] = {"file_log/files": config["receivers"]["file_log/files"] | {"include": [f"{logs}/*.log"]}}
    config["extensions"]["file_storage"]["directory"] = str(tmp_path / "storage")
    config["exporters"] = {"file": {"path": str(out), "flush_interval": "100ms"}}
    config["service"]["extensions"] = ["file_storage"]
    config["service"]["telemetry"] = {"metrics": {"level": "none"}}
    pipeline = config["service"]["pipelines"]["logs/read_for_loki"]
    config["service"]["pipelines"] = {"logs": pipeline | {"receivers": ["file_log/files"], "exporters": ["file"]}}
    base = {
        "timestamp": "2026-03-18T09:15:32.441Z",
        "action": "search",
        "input": SECRETS,
        "output": {"confidence": 0.5},
    }
    lines = [json.dumps(base | line) for line in NASTY] + ["plain text", '{"no": "agent"}']
    lines.append('{"kind":"loop","agent_id":"writer-01","session_id":"s","trace_id":"' + "a" * 32 + '","at":"x"}')
    (logs / "a.log").write_text("\n".join(lines) + "\n")
    for key, value in environment.items():
        os.environ[key] = value
    try:
        with Collector(program("otelcol"), yaml.safe_dump(config), tmp_path):
            eventually(lambda: out.exists() and out.read_text().count('"body"') > len(NASTY))
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
    records = through_the_collector(program, secrets, tmp_path)
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


@pytest.mark.slow
def test_one_switch_keeps_content_out_of_loki(program, secrets, tmp_path):
    """No input, no output, and everything else."""
    records = through_the_collector(program, secrets, tmp_path, LOGS_WITHOUT_CONTENT="true")
    for given, record in zip(NASTY, records, strict=False):
        body = json.loads(record["body"])
        assert "input" not in body
        assert "output" not in body
        assert {key: body[key] for key in given} == given
