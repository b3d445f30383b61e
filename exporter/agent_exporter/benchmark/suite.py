"""A suite: a YAML file of inputs and what their answers should be.

cases:
  - {name: capital, input: What is the capital of France?, expect: {contains: Paris}}
  - {input: What is 127 + 385?, expect: {number: 512}}
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, field

from agent_exporter.config import Expect  # noqa: TC001  (msgspec reads the annotations)
from agent_exporter.config.strict import ConfigError, Section, read_strictly, text_of
from agent_exporter.config.values import JMESPath
from agent_exporter.probes.check import filled
from agent_exporter.probes.expectation import EXPECTATIONS
from agent_exporter.probes.settings import expect_faults, path_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INPUT = "{input}"
"""Stands for the input of a case in a text of the request's body."""
MAX_CASES = 1_000


class Case(Section, frozen=True):
    """An input, as text or as the JSON to POST, and what its answer should be."""

    input: Any
    expect: Expect
    name: str = ""


class Request(Section, frozen=True):
    """How to send an input to an agent. Defaults: the endpoint of the article's checks."""

    path: str = "/v1/test"
    body: dict[str, Any] = field(default_factory=lambda: {"prompt": INPUT})
    status: Annotated[int, Meta(ge=100, le=599)] = 200
    jmespath: JMESPath | None = JMESPath("response")
    """The part of the answer to judge."""


class Suite(Section, frozen=True):
    """The whole file."""

    cases: list[Case] = field(default_factory=list)
    request: Request = field(default_factory=Request)


def load(path: Path) -> Suite:
    """Read and check a file. Raises ConfigError with every fault."""
    return read_strictly(text_of(path), str(path), Suite, _faults)


def faults_in(path: Path) -> list[str]:
    """What is wrong with a file."""
    try:
        load(path)
    except ConfigError as error:
        return error.faults
    return []


def name_of(case: Case, number: int) -> str:
    """The name of a case; its number, from 1, if it has none."""
    return case.name or f"case {number}"


def body_of(suite: Suite, case: Case) -> dict[str, Any]:
    """The body to send: the input itself if it is a mapping, else the request's body with the text in it."""
    if isinstance(case.input, dict):
        return case.input
    body: dict[str, Any] = filled(suite.request.body, INPUT, case.input)
    return body


def _faults(suite: Suite) -> Iterator[str]:
    if not 0 < len(suite.cases) <= MAX_CASES:
        yield f"cases: must be 1 to {MAX_CASES:,}, not {len(suite.cases):,}"
    if fault := path_fault(suite.request.path):
        yield f"request.path: {fault}"
    names = [name_of(case, number) for number, case in enumerate(suite.cases, 1)]
    for name, count in Counter(names).items():
        if count > 1:
            yield f"cases: {count} of them are named {name!a}"
    for number, case in enumerate(suite.cases):
        if not isinstance(case.input, (str, dict)) or not case.input:
            yield f"cases[{number}].input: must be text or a mapping, and not empty"
        if all(getattr(case.expect, key) is None for key in EXPECTATIONS):
            yield f"cases[{number}].expect: needs one of {', '.join(EXPECTATIONS)}"
        yield from expect_faults(f"cases[{number}].expect", case.expect)
