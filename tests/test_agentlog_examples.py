"""agentlog: the examples, run as a person would run them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from agentlines import tree
from running import ROOT

EXAMPLES = ROOT / "examples"


def drawn(name: str) -> tuple[str, str]:
    """What an example prints, as a tree; and what `validate` says of it."""
    ran = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, check=True)
    assert ran.stderr == b""
    checked = subprocess.run(
        [sys.executable, "-m", "agent_exporter", "validate", "-"],
        input=ran.stdout, capture_output=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return tree(ran.stdout.splitlines()), checked.stdout.decode().splitlines()[-1]


TREES = {
    "three_lines.py": """\
invoke_agent research-agent-01 [research-agent-01 INTERNAL]
  execute_tool web_search [research-agent-01 INTERNAL]
  execute_tool session_end [research-agent-01 INTERNAL]
""",
    "langgraph_agent.py": """\
invoke_agent researcher [researcher INTERNAL]
  chat scripted-1 [researcher CLIENT]
  execute_tool web_search [researcher INTERNAL]
  chat scripted-1 [researcher CLIENT]
  execute_tool word_count [researcher INTERNAL]
  chat scripted-1 [researcher CLIENT]
  execute_tool session_end [researcher INTERNAL]
""",
    "openai_agents_handoff.py": """\
invoke_agent planner [planner INTERNAL]
  chat scripted-1 [planner CLIENT]
  execute_tool web_search [planner INTERNAL]
  chat scripted-1 [planner CLIENT]
  execute_tool handoff [planner INTERNAL]
  execute_tool session_end [planner INTERNAL]
  invoke_agent writer [planner CLIENT]
    invoke_agent writer [writer SERVER]
      chat scripted-1 [writer CLIENT]
      execute_tool session_end [writer INTERNAL]
""",
}


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_writes_lines_that_are_valid_and_one_tree(example):
    """And nothing on stderr."""
    drawing, summary = drawn(example)
    assert drawing == TREES[example]
    assert "accepted, 0 rejected" in summary


@pytest.mark.parametrize("readme", ["README.md", "agentlog/README.md"])
def test_the_three_lines_in_the_readmes_are_the_example(readme):
    """To the letter."""
    [shown] = re.findall(
        r"<!-- examples/three_lines.py -->\n```python\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL
    )
    assert shown == (EXAMPLES / "three_lines.py").read_text()
