"""Lines of usual loggers, read by a preset and the three to five lines that a user adds."""

import json

import pytest

from agent_exporter.action import Action
from agent_exporter.config.strict import ConfigError
from agent_exporter.formats.chosen import Choice
from agent_exporter.formats.mapping import files
from agent_exporter.records import read

AT = "2026-03-18T09:00:02.500Z"
SECONDS = 1773824402.5
TRACEBACK = 'Traceback (most recent call last):\n  File "till.py", line 3, in pay\n    raise error\nshop.errors.CardError: no money\n'

MINE = """
extends: {extends}
defaults: {{agent_id: {agent}, session_id: {run}}}
records:
- when: {{{step}: present}}
  emit: {{action: {step}}}
"""


def mapped(folder, extends, lines, agent="agent", run="run", step="step"):
    """What lines become, in the fields that a preset knows."""
    path = folder / "mine.yaml"
    path.write_text(MINE.format(extends=extends, agent=agent, run=run, step=step))
    stream = Choice.named(str(path)).new()
    rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    found = [read(each) for each in stream.feed(rows).lines]
    assert all(isinstance(action, Action) for action in found), found
    assert {(action.agent_id, action.session_id, action.action) for action in found} == {("till", "r1", "pay")}
    return [(round(action.at, 3), action.status, action.error_type, action.error_message) for action in found]


OWN = {"agent": "till", "run": "r1", "step": "pay"}
GOOD = (SECONDS, "success", None, None)

LOGGERS = {
    "pino": [
        ({"level": 30, "time": 1773824402500, "pid": 7, "hostname": "h", "msg": "paid"}, GOOD),
        (
            {"level": 50, "time": 1773824402500, "err": {"type": "CardError", "message": "no money", "stack": "..."}},
            (SECONDS, "error", "CardError", "no money"),
        ),
        ({"level": "error", "time": AT, "msg": "labels instead of numbers"}, (SECONDS, "error", None, None)),
    ],
    "bunyan": [
        ({"name": "shop", "level": 30, "time": AT, "v": 0, "msg": "paid"}, GOOD),
        (
            {"level": 60, "time": AT, "v": 0, "err": {"name": "CardError", "message": "no money"}},
            (SECONDS, "error", "CardError", "no money"),
        ),
    ],
    "winston": [
        ({"level": "info", "message": "paid", "timestamp": AT}, GOOD),
        (
            {"level": "error", "message": "no money", "stack": "CardError: no money\n    at pay", "timestamp": AT},
            (SECONDS, "error", "CardError", "no money"),
        ),
    ],
    "zap": [
        ({"level": "info", "ts": SECONDS, "caller": "till.go:3", "msg": "paid"}, GOOD),
        ({"level": "error", "ts": SECONDS, "error": "bank: no money"}, (SECONDS, "error", "error", "bank: no money")),
        (
            {"level": "warn", "ts": AT, "error": "bank: context deadline exceeded"},
            (SECONDS, "timeout", "deadline exceeded", "bank: context deadline exceeded"),
        ),
    ],
    "slog": [
        ({"time": "2026-03-18T09:00:02.500000000Z", "level": "INFO", "msg": "paid"}, GOOD),
        (
            {"time": "2026-03-18T10:00:02.5+01:00", "level": "ERROR", "err": "dial tcp: connection refused"},
            (SECONDS, "error", "connection refused", "dial tcp: connection refused"),
        ),
        ({"time": AT, "level": "ERROR+4", "msg": "a level of their own"}, (SECONDS, "error", None, None)),
    ],
    "structlog": [
        ({"event": "paid", "level": "info", "timestamp": AT}, GOOD),
        ({"event": "paid", "level": "info", "timestamp": SECONDS}, GOOD),
        (
            {"event": "failed", "level": "error", "exception": TRACEBACK, "timestamp": AT},
            (SECONDS, "error", "shop.errors.CardError", "no money"),
        ),
        (
            {"exception": [{"exc_type": "CardError", "exc_value": "no"}], "timestamp": AT},
            (SECONDS, "error", "CardError", "no"),
        ),
        ({"exception": TRACEBACK, "timestamp": AT}, (SECONDS, "error", "shop.errors.CardError", "no money")),
        (
            {"level": "error", "exception": [{"exc_type": "CardError", "exc_value": "no money"}], "timestamp": AT},
            (SECONDS, "error", "CardError", "no money"),
        ),
    ],
    "python-json-logger": [
        ({"message": "paid", "levelname": "INFO", "asctime": "2026-03-18 09:00:02,500"}, GOOD),
        ({"message": "paid", "timestamp": "2026-03-18T09:00:02.500000+00:00"}, GOOD),
        (
            {"message": "failed", "exc_info": TRACEBACK, "timestamp": AT},
            (SECONDS, "error", "shop.errors.CardError", "no money"),
        ),
        (
            {"message": "failed", "levelname": "ERROR", "exc_info": TRACEBACK, "timestamp": AT},
            (SECONDS, "error", "shop.errors.CardError", "no money"),
        ),
    ],
    "logback": [
        ({"@timestamp": "2026-03-18T10:00:02.500+01:00", "@version": "1", "level": "INFO", "message": "paid"}, GOOD),
        (
            {
                "@timestamp": AT,
                "level": "ERROR",
                "stack_trace": "com.shop.CardException: no money\n\tat com.shop.Till\n",
            },
            (SECONDS, "error", "CardException", "no money"),
        ),
    ],
    "serilog": [
        ({"@t": "2026-03-18T09:00:02.5000000Z", "@mt": "{step} took {Elapsed} ms"}, GOOD),
        (
            {"@t": AT, "@mt": "failed", "@l": "Error", "@x": "Shop.CardException: no money\r\n   at Shop.Till"},
            (SECONDS, "error", "CardException", "no money"),
        ),
    ],
    "ecs": [
        ({"@timestamp": AT, "log.level": "info", "message": "paid"}, GOOD),
        ({"@timestamp": AT, "log": {"level": "error"}}, (SECONDS, "error", None, None)),
        (
            {"@timestamp": AT, "event": {"outcome": "failure"}, "error": {"type": "CardError", "message": "no money"}},
            (SECONDS, "error", "CardError", "no money"),
        ),
        (
            {"@timestamp": AT, "event.outcome": "success", "error.type": "CardError"},
            (SECONDS, "success", "CardError", None),
        ),
    ],
    "gcp": [
        ({"severity": "INFO", "time": AT, "message": "paid"}, GOOD),
        (
            {"severity": "ERROR", "time": AT, "stack_trace": "CardError: no money\n  at pay"},
            (SECONDS, "error", "CardError", "no money"),
        ),
    ],
}


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_needs_three_lines_of_ones_own(name, tmp_path):
    """Time, level and error are those of the preset; the fields of the agent are the user's."""
    lines = [OWN | line for line, _ in LOGGERS[name]]
    assert mapped(tmp_path, name, lines) == [expected for _, expected in LOGGERS[name]]


def test_loguru_has_what_was_bound_beside_the_record(tmp_path):
    record = {"time": {"timestamp": SECONDS}, "level": {"name": "INFO"}, "message": "paid", "exception": None}
    failed = {"level": {"name": "ERROR"}, "exception": {"type": "CardError", "value": "no money", "traceback": True}}
    lines = [
        {"text": "...", "record": record | {"extra": OWN}},
        {"text": "...", "record": record | failed | {"extra": OWN}},
    ]
    assert mapped(tmp_path, "loguru", lines) == [GOOD, (SECONDS, "error", "CardError", "no money")]


def test_an_exported_entry_of_google_cloud_is_unwrapped(tmp_path):
    line = {
        "insertId": "x",
        "jsonPayload": OWN,
        "severity": "ERROR",
        "timestamp": AT,
        "logName": "projects/p/logs/stdout",
    }
    assert mapped(tmp_path, "gcp", [line]) == [(SECONDS, "error", None, None)]


def test_a_shipper_around_a_logger_is_a_second_preset(tmp_path):
    """The later one of the list counts first: here, the logger's time."""
    inner = json.dumps(OWN | {"level": 50, "time": 1773824402500})
    around = {"date": 1773824409.0, "time": "2026-03-18T09:00:09Z", "kubernetes": {"pod_name": "till-0"}}
    lines = [around | {"log": inner}, around | {"log_processed": json.loads(inner)}, around | {"log": "plain text"}]
    assert mapped(tmp_path, "[fluent-bit, pino]", lines) == [(SECONDS, "error", None, None)] * 2
    assert mapped(tmp_path, "[pino, fluent-bit]", lines) == [(SECONDS + 6.5, "error", None, None)] * 2


def test_a_zone_can_be_given_to_times_without_one(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: python-json-logger\ntimezone: Europe/Berlin\n" + MINE.format(
        extends="x", agent="agent", run="run", step="step").split("\n", 2)[2])  # fmt: skip
    [line] = (
        Choice.named(str(path)).new().feed([json.dumps(OWN | {"asctime": "2026-03-18 10:00:02,500"}).encode()]).lines
    )
    assert read(line).at == SECONDS


def test_a_preset_alone_is_a_clear_error():
    """It has no rules: it does not know what the user's lines mean."""
    for name in files.presets():
        with pytest.raises(ConfigError) as caught:
            files.load(name)
        assert caught.value.faults == [
            f"{name} is a beginning: write a file with `extends: {name}` and with `records` of your own"
        ]


def test_each_preset_is_tried_here():
    assert {*LOGGERS, "loguru", "fluent-bit"} == {*files.presets()}
