"""The docs say what the program does: every example is run, every table compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import get_args, get_type_hints

import pytest
from conftest import HERE, LOGS
from running import ROOT

from agent_exporter.action import REASONS
from agent_exporter.benchmark.suite import load
from agent_exporter.cli import command
from agent_exporter.config import Config, parse
from agent_exporter.config.strict import Section
from agent_exporter.metrics.families import FAMILIES
from agent_exporter.probes.expectation import EXPECTATIONS
from agent_exporter.probes.settings import CHECKS
from agent_exporter.schema import schema

README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"


def block(name: str) -> str:
    """The code block after a comment with this name."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, name
    return found[1]


def test_the_readmes_line_is_the_one_that_is_tested():
    """The article's sample."""
    assert block("tests/logs/article.ndjson") == (LOGS / "article.ndjson").read_text()


def test_the_readmes_metrics_are_what_comes_out(capfd):
    """Every row of them."""
    assert command(["replay", str(LOGS / "article.ndjson")]) == 0
    printed = capfd.readouterr().out.splitlines()
    rows = block("replay").splitlines()
    assert rows
    assert [row for row in rows if row not in printed] == []


def test_the_readmes_tree_is_what_comes_out():
    """The golden tree."""
    assert block("tests/golden/chain-tree.txt") == (HERE / "golden" / "chain-tree.txt").read_text()


def test_the_readmes_config_is_one():
    config = parse(block("agent-exporter.yaml"))
    assert config.breaker.mode == "observe"
    assert config.agents["research-agent-01"].terminate is not None


def test_what_explain_says_in_the_docs_is_what_it_says():
    """The whole of it there, its beginning in the README."""
    golden = (HERE / "golden" / "explain-outage.txt").read_text()
    assert f"outage.ndjson -->\n```\n{golden}```\n" in (DOCS / "explain.md").read_text()
    assert golden.startswith(block("explain"))


def test_every_key_of_explains_document_is_documented():
    """Under the names that it has."""
    document = json.loads((HERE / "golden" / "explain-outage.json").read_text())
    [task] = document["tasks"]
    text = (DOCS / "explain.md").read_text()
    for key in [*document, *task, *task["first"]]:
        assert f"`{key}`" in text, key


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"\bmake ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text())))
)
def test_every_make_target_that_is_named_exists(target):
    """And help lists it."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"make {target} " in listed


def test_ci_runs_the_readmes_test_command():
    """To the letter."""
    assert "    make test " in README
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_of_the_readme_leads_somewhere(link):
    """Within the repository."""
    if not link.startswith("http"):
        assert (ROOT / link).exists()


def table() -> str:
    """docs/metrics.md as it has to be."""
    rows = [
        "# Metrics",
        "",
        "Written by `pytest --update` from `exporter/agent_exporter/metrics/families.py`. Counters have `_created` in OpenMetrics, and counters",
        "and histograms of actions carry exemplars with a `trace_id`. Session ids, trace ids, inputs, outputs and error texts are",
        "never labels. With replicas, sum counters, today's sums and `agent_sessions_active`; take the `max` of everything else.",
        "Where they disagree on an agent's team, the rules take that of the replica that heard from it last (`agent:team:info`).",
        "Counters whose labels are known begin at zero with an agent's or action's first line; `agent_errors_total` begins with its",
        'first error, as which error types there are only errors tell: alert on `agent_actions_total{status=~"error|timeout"}`.',
        "",
        "| metric | type | labels | |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| `{family.name}` | {family.type} | {' '.join(f'`{name}`' for name in family.labels)} | {family.help} |"
        for family in FAMILIES.values()
    ]
    return "\n".join(rows) + "\n"


def test_the_table_of_metrics_is_fresh(request):
    """Generated, committed, proven."""
    path = DOCS / "metrics.md"
    if request.config.getoption("--update"):
        path.write_text(table())
    assert path.read_text() == table()


def keys(section=Config, path: str = "") -> list[str]:
    """The paths of all config keys."""
    found = []
    for name, hint in get_type_hints(section).items():
        here = f"{path}{name}"
        inner = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and issubclass(kind, Section)]
        if not inner or name in {"terminate", "breaker", "loop", "action_anomaly", "cascade", "expect", "models"}:
            found.append(here)
        else:
            found += keys(inner[0], f"{here}.NAME." if hint is not inner[0] and name != "terminate" else f"{here}.")
    return found


@pytest.mark.parametrize("key", keys())
def test_every_config_key_is_documented(key):
    """In the table of docs/config.md."""
    assert f"`{key}`" in (DOCS / "config.md").read_text()


def test_every_documented_config_key_exists():
    """And no other."""
    documented = re.findall(r"^\| (`.+?`) \|", (DOCS / "config.md").read_text(), re.MULTILINE)
    named = [key for row in documented for key in re.findall(r"`([^`]+)`", row)]
    assert set(named) == {*keys(), "agents.NAME"}


def test_the_defaults_in_the_docs_are_the_defaults():
    """As far as they can be read off: numbers, durations and words."""
    text = (DOCS / "config.md").read_text()
    for key, value in re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| `([^`]+)` \|", text, re.MULTILINE):
        section, name = key.split(".")
        assert parse(f"{section}: {{{name}: {value}}}") == Config(), key


def test_every_rejection_and_every_field_of_the_schema_is_documented():
    """Under the names that it has."""
    text = (DOCS / "log-schema.md").read_text()
    assert all(f"| `{reason}` |" in text for reason in REASONS)
    definitions = schema()["$defs"]
    fields = list(definitions["Record"]["properties"])
    fields += [f"tokens.{name}" for name in definitions["Tokens"]["properties"]]
    fields += [f"metadata.{name}" for name in definitions["Metadata"]["properties"]]
    for field in fields:
        assert f"`{field}`" in text or field in {"tokens", "metadata", "error"}, field


def test_the_image_starts_with_a_config_that_is_fine(capsys):
    """docker/config.yaml."""
    assert command(["check-config", str(ROOT / "docker" / "config.yaml")]) == 0
    assert capsys.readouterr().out.endswith("docker/config.yaml: fine\n")


def test_no_lock_file_names_an_index():
    """Hashes yes, addresses no."""
    for path in ROOT.glob("*.lock"):
        text = path.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "index" not in text


def test_the_package_runs_as_a_module():
    """python -m agent_exporter."""
    done = subprocess.run(
        [sys.executable, "-m", "agent_exporter", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "agent-exporter 0.1.0\n"


def test_the_example_of_a_probe_looks_as_it_does():
    """Line by line."""
    text = (DOCS / "probes.md").read_text()
    shown = re.search(r"<!-- probe -->\n```json\n(.*?)```", text, re.DOTALL)[1]
    first, second = (HERE / "golden" / "probe.json").read_text().split("\n}\n")[:2]
    assert set(shown.splitlines()) <= {
        *first.splitlines(),
        *second.splitlines(),
        '  "agent_id": "research-agent-01",',
        "}",
    }
    assert json.loads(shown)["healthy"] is False


def test_every_check_and_expectation_is_documented():
    """In their tables."""
    text = (DOCS / "probes.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(CHECKS)
    assert re.findall(r"^\| `(\w+): ", text, re.MULTILINE) == list(EXPECTATIONS)


def test_the_examples_of_a_benchmark_are_what_is_read_and_printed(tmp_path):
    """The suite has no fault, and its request's keys are those that there are; the table is the second of the golden ones."""
    text = (DOCS / "benchmark.md").read_text()
    path = tmp_path / "golden.yaml"
    path.write_text(
        re.search(r"<!-- suite -->\n```yaml\n(.*?)```", text, re.DOTALL)[1]
        + re.search(r"^    (request: .*)$", text, re.MULTILINE)[1]
    )
    suite = load(path)
    assert [case.name for case in suite.cases] == ["capital", "refund policy", "sum", "plan"]
    assert suite.request.path == "/chat"
    shown = re.search(r"<!-- tests/golden/benchmark.txt -->\n```\n(.*?)```", text, re.DOTALL)[1]
    assert shown in (HERE / "golden" / "benchmark.txt").read_text()


@pytest.mark.parametrize("name", ["backtest.ndjson", "backtest.txt"])
def test_the_example_of_a_backtest_is_what_comes_out(name):
    """Every row of it, in this order."""
    found = re.search(rf"<!-- tests/golden/{name} -->\n```\w*\n(.*?)```", (DOCS / "backtest.md").read_text(), re.DOTALL)
    printed = iter((HERE / "golden" / name).read_text().splitlines())
    assert found
    assert all(row in printed for row in found[1].splitlines())


def test_every_dependency_has_its_reason():
    """In a line of docs/operating.md."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (DOCS / "operating.md").read_text().partition("## Dependencies")[2]
    for dependency in project["dependencies"]:
        assert re.search(rf"^\| .*{re.split('[<>=]', dependency)[0]}", reasons, re.MULTILINE), dependency


def test_every_test_that_the_threat_model_names_is_there():
    """A promise without its test is none."""
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(test_\w+\.py)`((?::?,? `test_\w+`)*)", text)
    assert len(named) > 25
    for file, tests in named:
        source = (ROOT / "tests" / file).read_text()
        missing = [name for name in re.findall(r"`(test_\w+)`", tests) if f"def {name}(" not in source]
        assert missing == [], file
