"""agentlog's docs: every example is run, and every line it writes is accepted."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from running import ROOT

from agent_exporter.action import Action, decode

DOCS = [ROOT / "docs" / "agentlog.md", ROOT / "agentlog" / "README.md"]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_the_examples_run_one_after_the_other(path):
    """In one program, as a reader would type them."""
    examples = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    program = "\n".join(examples)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=dict(os.environ))
    assert ran.stderr.decode() == ""
    lines = ran.stdout.splitlines()
    assert len(lines) >= 2
    assert [line for line in lines if not isinstance(decode(line), Action)] == []


def test_the_versions_that_were_tried_are_those_that_are_tested():
    """The table's are the lock file's."""
    lock = (ROOT / "requirements-dev.lock").read_text()
    text = (ROOT / "docs" / "agentlog.md").read_text()
    for name in ("langchain", "langgraph", "openai-agents", "opentelemetry-sdk", "opentelemetry-util-genai"):
        [version] = re.findall(rf"^{name}==(\S+)", lock, re.MULTILINE)
        assert f"{name} {version}" in text


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    """Within the repository."""
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link
