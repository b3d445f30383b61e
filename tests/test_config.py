"""The configuration: strict, and every fault told at once, with its path."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.benchmark import suite  # noqa: F401  (its sections are renamed ones too)
from agent_exporter.config import Anomaly, Config, load, parse
from agent_exporter.config.renamed import NEW_NAMES
from agent_exporter.config.strict import ConfigError, Section, read_strictly
from agent_exporter.config.values import QuietHours, duration

EXAMPLE = Path(__file__).parent / "config" / "every-key.yaml"
INVALID = sorted((Path(__file__).parent / "config").glob("invalid-*.yaml"))


def test_without_a_file_everything_has_its_default():
    """An empty file is no fault."""
    assert parse("") == Config()
    assert Config().agent("anyone").max_action_duration == 300
    assert Config().task_type("anything").session_tokens == 50_000
    assert [Config().is_llm(name) for name in ("llm_call", "chat", "chat_x", "generate_text", "web_search", "LLM_call")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


def test_an_example_of_every_key_is_accepted():
    """With what it says."""
    config = load(EXAMPLE)
    assert config.agent("research-agent-01").daily_tokens == 2_000_000
    assert config.agent("support-7").quiet_hours.contain(23 * 3600)
    assert config.agent("old-agent").retired
    assert config.names() == ["research-agent-01"]
    assert config.task_type("batch").session_cost_usd == 5
    assert config.task_type("other") == config.task_type("default")
    assert config.sources["agents"].path == "/var/log/agents/*.log"


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_file_is_refused_for_these_reasons(path):
    """The comments at the end of each file are what is said of it, to the letter."""
    expected = [row.removeprefix("#> ") for row in path.read_text().splitlines() if row.startswith("#> ")]
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [fault.removeprefix(f"{path}") for fault in caught.value.faults] == expected


def test_every_new_name_is_a_key_and_no_old_name_is():
    """A renamed key that is renamed again needs its row in the table mended."""
    sections = {cls.__name__: cls for cls in Section.__subclasses__()}
    rows = [(section, old, new) for section, names in NEW_NAMES.items() for old, new in names.items()]
    known = {(section, key) for section in NEW_NAMES for key in sections[section].__struct_fields__}
    assert [row for row in rows if (row[0], row[2]) not in known or row[:2] in known] == []


class Rows(Section, frozen=True):
    """A section with a list of sections, of which the config has none yet."""

    rows: list[Anomaly] = msgspec.field(default_factory=list)


def test_an_old_key_in_a_list_of_sections_names_the_new_key():
    """The path has the place in the list."""
    with pytest.raises(ConfigError) as caught:
        read_strictly("rows: [{window_size: 1}, {window: 2}]", "f", Rows, lambda _: [])
    assert caught.value.faults == ["f: rows[1].window: is called window_size now"]


def test_a_name_wins_over_a_glob_and_the_first_glob_over_the_next():
    """Whatever the order of the file."""
    config = parse("agents: {'a*': {team: glob}, 'ab*': {team: later}, abc: {team: name}}")
    assert [config.agent(name).team for name in ("abc", "abd", "x")] == ["name", "glob", None]


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("22:00-06:00", [22, 23, 0, 5.9], [6, 12, 21.9]),
        ("09:00-17:00", [9, 16.9], [8.9, 17]),
        ("10:00-10:00", [], [10, 0]),
    ],
)
def test_quiet_hours_may_pass_midnight(hours, inside, outside):
    """UTC; the end is no longer part of them."""
    quiet = QuietHours(hours)
    assert all(quiet.contain(86400 * 5 + hour * 3600) for hour in inside)
    assert not any(quiet.contain(86400 * 5 + hour * 3600) for hour in outside)


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("7d", 604800)]
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    """As Prometheus writes them."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "0s", "1e3s", "1 s", "1y", "367d", "\u0661s", "30s\n"])
def test_anything_else_is_no_duration(text):
    """A sentence, not a guess."""
    with pytest.raises(ValueError, match="must be a duration above zero"):
        duration(text)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    """Missing, a directory, or no text."""
    with pytest.raises(ConfigError, match="missing.yaml: No such file or directory"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary")


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3), max_leaves=8
)


def test_a_name_with_nothing_after_it_has_the_defaults():
    """As YAML writes an empty mapping."""
    assert parse("agents: {a: }\ntask_types: {b: }").agent("a") == parse("").agent("a")


@given(st.dictionaries(st.sampled_from(list(Config.__struct_fields__)) | st.text(max_size=5), values, max_size=5))
def test_no_document_makes_it_raise_anything_else(document):
    """Every fault is a sentence that begins with the file's name."""
    try:
        parse(yaml.safe_dump(document, allow_unicode=True), "x.yaml")
    except ConfigError as error:
        assert error.faults
        assert all(fault.startswith("x.yaml") and "\n" not in fault for fault in error.faults)


@given(st.text(max_size=60))
def test_no_text_makes_it_raise_anything_else(text):
    """YAML has many ways to be wrong."""
    try:
        parse(text)
    except ConfigError as error:
        assert error.faults


def test_a_merge_key_takes_over_what_another_section_says():
    """As in YAML elsewhere; what is said beside it wins, and a key given twice is still an error."""
    config = parse("agents: {a: &usual {team: research, expected_interval: 30s}, b: {<<: *usual, team: support}}")
    assert config.agent("b") == parse("agents: {b: {team: support, expected_interval: 30s}}").agent("b")
    with pytest.raises(ConfigError, match=r"line 1, column 63: the key 'team' is given twice$"):
        parse("agents: {a: &usual {team: research}, b: {<<: *usual, team: b, team: c}}")
    with pytest.raises(ConfigError, match=r"^config, line 1, column 18: expected a mapping or list of mappings"):
        parse("agents: {a: {<<: 5}}")


def test_a_path_may_begin_at_the_home_folder(monkeypatch):
    """A file has no shell that replaces ~."""
    monkeypatch.setenv("HOME", "/home/sre")
    config = parse("state: {path: ~/state.db}\nsources: {a: {path: ~/logs/*.log}}")
    assert (config.state.path, config.sources["a"].path) == ("/home/sre/state.db", "/home/sre/logs/*.log")


def test_a_fault_of_an_address_does_not_show_the_password_in_it():
    """It goes to the terminal, and into the log of whoever reloads."""
    with pytest.raises(ConfigError) as caught:
        parse("otlp: {endpoint: 'ftp://me:hunter2@h:1'}\nagents: {a: {endpoint: 'http://me:hunter2@h:99999999'}}")
    assert "hunter2" not in str(caught.value)
    assert (
        caught.value.faults[0] == "config: otlp.endpoint: 'ftp://***@h:1' must be http://HOST:PORT or https://HOST:PORT"
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("state: {path: '${HOME}/state.db'}", "state.path"),
        ("otlp: {endpoint: 'http://${TEMPO}:4318'}", "otlp.endpoint"),
        ("agents: {a: {endpoint: 'http://${HOST}/'}}", "agents.a.endpoint"),
        ("agents: {a: {team: '${TEAM}'}}", "agents.a.team"),
        ("server: {allowed_hosts: [x, '${HOST}']}", "server.allowed_hosts"),
    ],
)
def test_a_variable_of_the_environment_is_an_error_not_a_text(text, path):
    """Nothing replaces it, and nobody is called ${HOST}."""
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert any(
        fault.startswith(f"config: {path}: must be") and "is not replaced by the environment's value" in fault
        for fault in raised.value.faults
    )


def test_what_an_answer_is_compared_with_may_hold_one():
    """It is the agent's text."""
    check = "health_checks: {h: {path: /x, body: {q: '${A}'}, expect: {contains: '${B}', similar: '${C}', regex: '[$]{D}'}}}"
    parse(check)


def nested(aliases: int) -> str:
    """A list of ten, of ten, of ten ..."""
    rows = ["a0: &a0 [l, l, l, l, l, l, l, l, l, l]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, aliases)]
    return "{" + ", ".join(rows) + "}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"health_checks: {{c: {{path: /x, body: {nested(9)}}}}}", "line 1, column 262: aliases make more than 100,000 values of it"),
        ("agents: &x {a: *x}", "line 1, column 9: an alias stands within what it names"),
        ("agents: " + "{a: " * 5000 + "}" * 5000, "line 1, column 258: nested too deeply"),
        ("agents: [" + "a, " * 100_000 + "]", "line 1, column 300001: more than 100,000 values"),
        ("agents: {a: {daily_tokens: " + "9" * 5000 + "}}", "a value cannot be read: Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits"),
        ("agents: {a: {baseline_from: 2026-13-45}}", "a value cannot be read: month must be in 1..12"),
    ],
)  # fmt: skip
def test_a_bomb_is_refused_in_a_moment(text, fault):
    """Aliases would make gigabytes of a few lines."""
    with pytest.raises(ConfigError) as raised:
        parse(text)
    [only] = raised.value.faults
    assert only.replace("config, ", "").replace("config: ", "") == fault


def test_a_fleet_of_five_thousand_agents_is_no_bomb():
    """A thousand series for each would be another matter."""
    config = parse("agents:\n" + "".join(f"  a{n}: {{team: t, expected_interval: 1m}}\n" for n in range(5000)))
    assert len(config.agents) == 5000


def test_a_file_without_an_end_is_refused():
    """As /dev/zero."""
    with pytest.raises(ConfigError) as raised:
        load(Path("/dev/zero"))
    assert raised.value.faults == ["/dev/zero: longer than 16 MiB"]
