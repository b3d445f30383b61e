"""The docstring of the package is the map. What it says of the folder, of imports, of JSON and of actions holds."""

from __future__ import annotations

import ast
import re
from copy import deepcopy
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from conftest import LOGS

import agent_exporter
from agent_exporter import pipeline
from agent_exporter.action import Action, Mended, decode
from agent_exporter.cli import command
from agent_exporter.config import Breaker
from agent_exporter.detectors.finding import Kind
from agent_exporter.detectors.kinds import TOPICS

PACKAGE = Path(agent_exporter.__file__).parent
MAP = re.findall(r"^    (\w+)(/?) +\S", agent_exporter.__doc__, re.MULTILINE)
ORDER = [name for name, _ in MAP]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or not path.name.startswith("__")
}

UP = {
    ("config.contradictions", "probes"): "the probes know what is wrong with their part of the file",
    ("sessions", "detectors"): "a session holds the steps that the detectors compare: one table, one row of state",
    ("stage", "sessions"): "what all stages are handed is an action and its session, whose table is one of them",
    ("status.snapshot", "stages"): "a page is made of what the pipeline's thread copies of the stages",
}
"""Imports of a stage that stands below, each with its reason."""

OTHER_JSON = {
    "backtest.prometheus": "what Prometheus answers",
    "breaker.audit": "our own audit log",
    "breaker.control": "orders of an operator",
    "breaker.client": "what the exporter answers to them",
    "explain.document": "our own findings",
    "prices": "our own table",
    "probes.endpoint": "what an agent answers",
    "probes.expectation": "a text in it that is JSON itself",
}
"""Modules that decode JSON which is no line."""


def imports(path: Path):
    """(stage, line) of all that a module imports of ours, for types, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "agent_exporter":
            yield from ((name.name, node.lineno) for name in node.names if not name.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agent_exporter."):
            yield node.module.split(".")[1], node.lineno
        elif isinstance(node, ast.Import):
            yield from (
                (name.name.split(".")[1], node.lineno) for name in node.names if name.name.startswith("agent_exporter.")
            )
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}: relative"


def test_the_map_names_each_stage_of_the_folder_and_nothing_else():
    """A folder has a slash."""
    there = {
        (path.stem, "/" if path.is_dir() else "")
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.name.startswith("__")
    }
    assert sorted(MAP) == sorted(there)


def test_imports_point_up_the_map():
    """No stage knows a later one, not even its types: so each can be read, tested and replaced without them."""
    later = {
        (module, stage)
        for module, path in MODULES.items()
        for stage, _ in imports(path)
        if ORDER.index(stage) > ORDER.index(module.split(".")[0])
    }
    assert later == set(UP)


def test_json_of_lines_is_decoded_where_the_map_says():
    """And all other JSON is what OTHER_JSON says."""
    decoding = set()
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch(
                r"json\.(loads?|JSONDecoder)|msgspec\.json\.(decode|Decoder)", ast.unparse(node)
            ):
                decoding.add(module)
    told = next(part for part in agent_exporter.__doc__.split("\n\n") if part.startswith("JSON"))
    assert decoding == set(re.findall(r"`([\w.]+)`", told)) | set(OTHER_JSON)


def test_only_the_decoder_writes_to_an_action():
    """Everything else is kept from it by `frozen`."""
    writing = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "force_setattr")
        or (isinstance(node, ast.Attribute) and node.attr in {"force_setattr", "__setattr__"})
    }
    assert writing == {"action"}


@pytest.mark.parametrize("name", ["chain.ndjson", "tau-airline-gpt4o.ndjson.gz"])
def test_an_action_is_after_all_stages_what_it_was_when_it_was_decoded(name, monkeypatch, capfdbinary):
    """With whatever hangs off it."""
    decoded: list[tuple[Action, Action]] = []

    def kept(*arguments):
        action = decode(*arguments)
        if isinstance(action, Action | Mended):
            decoded.append((action, deepcopy(action)))
        return action

    monkeypatch.setattr(pipeline, "decode", kept)
    assert command(["replay", str(LOGS / name)]) == 0
    assert decoded
    assert [after for after, _ in decoded] == [before for _, before in decoded]


def test_every_kind_of_finding_is_in_the_table_and_the_breaker_takes_those_that_may_stop():
    """A stalled loop is a topic of its own, of the kind loop."""
    kinds = set(get_args(Kind))
    assert set(TOPICS) == kinds | {"loop_stalled"}
    [reasons] = get_args(get_type_hints(Breaker)["reasons"])
    assert {topic.name for topic in TOPICS.values() if topic.stops} == set(get_args(reasons))
