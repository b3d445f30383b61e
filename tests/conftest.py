"""What many tests need: records, golden files, servers of other projects where they are at hand."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
LOGS = HERE / "logs"

# The same examples each time: a failure in CI is one of the change that it tests. "thorough" looks for new ones.
settings.register_profile("fast", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="write golden files anew; look at the diff")


def record(**fields) -> dict:
    """A small valid record with some fields set; None leaves a field out."""
    base = {
        "timestamp": "2026-03-18T09:15:32.441Z",
        "agent_id": "a",
        "session_id": "s",
        "action": "search",
        "status": "success",
    }
    return {key: value for key, value in (base | fields).items() if value is not None}


def line(**fields) -> bytes:
    """The same as bytes."""
    return json.dumps(record(**fields)).encode()


# Programs that tests start are those of this checkout, whatever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(str(HERE.parent / part) for part in ("exporter", "agentlog/src"))
_number = itertools.count()


class Rows:
    """A store that has these rows, whatever kind is asked for."""

    def __init__(self, rows) -> None:
        self._rows = list(rows)

    def rows(self, _kind: str):
        return self._rows


@pytest.fixture(autouse=True)
def _state_of_its_own(monkeypatch, tmp_path_factory):
    """No exporter takes up what another test's has left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state" / str(next(_number))))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.fixture
def golden(request):
    """Compare a text with a file in tests/golden; with --update, write it."""

    def check(name: str, text: str) -> None:
        path = HERE / "golden" / name
        if request.config.getoption("--update"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest with --update and look at it"
        assert path.read_text(encoding="utf-8") == text

    return check


@pytest.fixture
def program():
    """The path of another project's program, or a loud skip."""

    def find(name: str) -> str:
        found = os.environ.get(f"{name.upper()}_BIN") or shutil.which(name)
        if found is None:
            if os.environ.get("REQUIRE_SERVERS"):
                pytest.fail(f"{name} is neither on PATH nor named by {name.upper()}_BIN")
            pytest.skip(f"{name.upper()} IS NOT AT HAND: put it on PATH or name it in {name.upper()}_BIN")
        return found

    return find
