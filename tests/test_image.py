"""The container image, on a real Docker engine: unprivileged, read-only, healthy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from conftest import LOGS
from running import ROOT, eventually, free_port, samples_of


def docker(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, check=check).stdout.strip()


@pytest.fixture(scope="module")
def image():
    """The image, or a loud skip."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail("no Docker engine answers")
        pytest.skip("NO DOCKER ENGINE ANSWERS: the image is not tested")
    name = "agent-exporter:test"
    docker("build", "--tag", name, ".")
    yield name
    docker("image", "rm", "--force", name)


@pytest.mark.slow
def test_the_image_runs_unprivileged_on_a_read_only_root(image):
    """All capabilities dropped; it becomes healthy and reads what is mounted."""
    port = free_port()
    container = docker(
        "run", "--detach", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--publish", f"127.0.0.1:{port}:10777", "--volume", f"{LOGS}:/logs:ro", image,
        "run", "--config", "/etc/agent-exporter/config.yaml", "/logs/*.ndjson",
    )  # fmt: skip
    try:
        eventually(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy", within=90)
        page = docker(
            "exec", container, "python", "-c",
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:10777/metrics').read().decode())",
        )  # fmt: skip
        [settings] = json.loads(docker("inspect", container))
        assert settings["Config"]["User"] == "10777:10777"
        accepted = samples_of(page + "\n")["agent_exporter_lines_accepted_total"]
        lines = sum(len(path.read_bytes().splitlines()) for path in LOGS.glob("*.ndjson"))
        assert accepted[(("source", "/logs/*.ndjson"),)] == lines
        docker("stop", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "--force", "--volumes", container)
