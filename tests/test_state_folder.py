"""State by default: where `run` keeps it, and that a first start shows no half of a history."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import line
from running import Running, eventually

from agent_exporter.cli.state_folder import base, folder, with_state
from agent_exporter.config import parse
from agent_exporter.service import until_caught_up
from agent_exporter.stages import MIRRORED, Stages
from agent_exporter.state import MemoryStore


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"STATE_DIRECTORY": "/var/lib/agents", "HOME": "/root"}, "/var/lib/agents"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/me"}, "/x/agent-exporter"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/agent-exporter"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/agent-exporter"),
    ],
)
def test_the_state_is_kept_in_the_platforms_place(environ, place):
    """systemd's, then XDG's."""
    assert base(environ) == Path(place)


def test_each_set_of_sources_has_a_folder_of_its_own(monkeypatch, tmp_path):
    """The order does not matter, nor how a path is written."""
    monkeypatch.chdir(tmp_path)
    assert folder(["a/*.log", "b.log"]) == folder(["b.log", f"{tmp_path}/a/*.log"])
    assert len({folder(names) for names in (["a.log"], ["b.log"], ["a.log", "b.log"], ["-"], [])}) == 5
    assert folder(["/logs/my agents/*.log"]).startswith("log-")
    assert "/" not in folder(["x/../..", "../\udcff", "-"])


def test_a_configured_path_wins_and_none_means_none(tmp_path):
    """`--state.path=none` is the same as `state: {path: none}`."""
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    assert with_state(parse("state: {path: /s.db}"), [], environ).state.path == "/s.db"
    assert with_state(parse("state: {path: none}"), [], environ).state.path is None
    assert list(tmp_path.iterdir()) == []
    made = Path(with_state(parse(""), ["a.log"], environ).state.path)
    assert (made.name, oct(made.parent.stat().st_mode & 0o777)) == ("state.db", "0o700")


def test_where_no_folder_can_be_made_it_runs_without_state(tmp_path, caplog):
    """A read-only home must not keep anybody from watching agents."""
    (tmp_path / "file").write_text("")
    assert with_state(parse(""), [], {"XDG_STATE_HOME": str(tmp_path / "file")}).state.path is None
    assert "name another with --state.path" in caplog.text


def test_a_restart_without_options_neither_loses_nor_doubles_a_line(tmp_path):
    """As with a state.path."""
    log = tmp_path / "a.log"
    log.write_bytes(line(session_id="1") + b"\n")
    for count in (1, 2):
        with Running(log) as exporter:
            eventually(lambda exporter=exporter, count=count: exporter.total("agent_actions_total") == count)
            assert any("state is kept in" in row for row in exporter.log)
            exporter.stop()
        with log.open("ab") as file:
            file.write(line(session_id=str(count + 1)) + b"\n")
    [made] = Path(os.environ["XDG_STATE_HOME"], "agent-exporter").iterdir()
    assert made.name.startswith("a.log-")


def test_a_first_start_refuses_scrapes_until_it_has_caught_up():
    """Prometheus would take the growing counters for work that is done now; and after a minute it sees them anyway."""
    pipeline = Stages(parse(""), MemoryStore(MIRRORED), []).pipeline
    assert [until_caught_up(pipeline, left) for left in (60, 2.5, 0, -1)] == [5, 3, 0, 0]
    pipeline.caught_up = True
    assert until_caught_up(pipeline, 60) == 0


def test_a_second_start_shows_its_counters_at_once():
    """They go on from where they were."""
    pipeline = Stages(parse(""), MemoryStore(MIRRORED), []).pipeline
    pipeline.began_empty = False
    assert until_caught_up(pipeline, 60) == 0


def test_prometheus_is_told_when_to_ask_again(tmp_path):
    """503 with Retry-After, while 50 MB are read."""
    log = tmp_path / "a.log"
    log.write_bytes(b"".join(line(action="x" * 200, duration_ms=n) + b"\n" for n in range(120_000)))
    with Running(log) as exporter:
        said = eventually(lambda: (answer := exporter.get("/metrics"))[0] == 503 and answer[1])
        assert said == "a first start reads the logs that there are; metrics are shown once it has caught up\n"
        assert exporter.total("agent_actions_total") == 120_000
