"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys

import pytest
from conftest import HERE, LOGS, line
from running import ROOT, Running, agents_only, eventually, free_port, samples_of
from test_metrics import OPENMETRICS

from agent_exporter.cli import COMMANDS, _parser, command, console
from agent_exporter.sources import Source

AIRLINE = str(LOGS / "tau-airline-gpt4o.ndjson.gz")


def test_validate_says_for_every_bad_line_what_to_change(tmp_path, capsys):
    """PATH:LINE: REASON: sentence, then a summary; exit code 1."""
    log = tmp_path / "agents.log"
    log.write_bytes(
        b"\n".join(
            [line(), b"", b"starting up", line(tokens={"prompt": -1}), b"x" * (1 << 20) + b"y", line(action="b")]
        )
    )
    assert command(["validate", str(log), str(LOGS / "article.ndjson")]) == 1
    assert capsys.readouterr().out.replace(str(log), "LOG") == (
        "LOG:3: not_json: not JSON: invalid character (byte 0)\n"
        "    starting up\n"
        "LOG:4: out_of_range: tokens.prompt must be a whole number >= 0\n"
        '    …"prompt": -1}}\n'
        "LOG:5: too_long: longer than 1 MiB\n"
        "6 lines: 3 accepted, 3 rejected (1 not_json, 1 out_of_range, 1 too_long)\n"
    )


def test_validate_finds_real_logs_fine(capsys):
    """Plain or compressed; exit code 0."""
    assert command(["validate", AIRLINE, str(LOGS / "chain.ndjson")]) == 0
    assert capsys.readouterr().out == "3,630 lines: 3,630 accepted, 0 rejected\n"


def test_validate_of_a_missing_file_is_wrong_use(capsys):
    """Exit code 2 and a sentence."""
    assert command(["validate", "nowhere.log"]) == 2
    assert capsys.readouterr().err == "agent-exporter: nowhere.log: No such file or directory\n"


def test_validate_tells_of_what_it_read_before_what_it_could_not(tmp_path, capsys):
    """A file that is not there, a folder, and an archive that is cut off; exit code 2."""
    cut = tmp_path / "cut.ndjson.gz"
    cut.write_bytes(gzip.compress(line() + b"\n" + line() + b"\n")[:-8])
    assert command(["validate", "nowhere.log", str(LOGS / "chain.ndjson"), str(tmp_path), str(cut)]) == 2
    told = capsys.readouterr()
    assert told.out == "14 lines: 14 accepted, 0 rejected\n"
    assert told.err.replace(str(tmp_path), "FOLDER").splitlines() == [
        "agent-exporter: nowhere.log: No such file or directory",
        "agent-exporter: FOLDER: Is a directory",
        "agent-exporter: FOLDER/cut.ndjson.gz: Compressed file ended before the end-of-stream marker was reached",
    ]


@pytest.mark.parametrize("name", ["article", "chain"])
def test_replay_prints_the_exposition(name, capfdbinary, monkeypatch):
    """The same page as the golden one, with the path as the source's name."""
    monkeypatch.chdir(LOGS)
    assert command(["replay", f"{name}.ndjson"]) == 0
    expected = (HERE / "golden" / f"{name}.prom").read_text().replace('source="test"', f'source="{name}.ndjson"')
    assert capfdbinary.readouterr().out.decode() == expected
    assert command(["replay", "--openmetrics", f"{name}.ndjson"]) == 0
    expected = (HERE / "golden" / f"{name}.om").read_text().replace('source="test"', f'source="{name}.ndjson"')
    assert capfdbinary.readouterr().out.decode() == expected


def test_replay_of_real_runs_gives_these_metrics(capfdbinary, monkeypatch, golden):
    """3,618 lines of 200 runs of an airline's service agent."""
    monkeypatch.chdir(LOGS)
    assert command(["replay", "tau-airline-gpt4o.ndjson.gz"]) == 0
    golden("airline.prom", capfdbinary.readouterr().out.decode())


def test_replay_reads_standard_input_docker_and_cri_alike(tmp_path, monkeypatch, capfdbinary):
    """Whatever wraps the lines, the agents' metrics are the same."""
    lines = (LOGS / "chain.ndjson").read_text().splitlines()
    docker = "".join(
        json.dumps({"log": text + "\n", "stream": "stdout", "time": "2026-03-18T09:00:00Z"}) + "\n" for text in lines
    )
    cri = "".join(
        f"2026-03-18T09:00:00Z stdout P {text[:90]}\n2026-03-18T09:00:00Z stdout F {text[90:]}\n" for text in lines
    )
    pages = []
    for text in ("\n".join(lines), docker, cri):
        path = tmp_path / "log"
        path.write_text(text)
        with path.open() as opened:
            completed = subprocess.run(
                [sys.executable, "-m", "agent_exporter", "replay", "-"],
                cwd=ROOT,
                stdin=opened,
                capture_output=True,
                check=True,
            )
        pages.append([row for row in completed.stdout.splitlines() if b"agent_exporter" not in row])
    assert pages[0] == pages[1] == pages[2]


def test_replay_in_steps_can_be_backfilled(tmp_path, program):
    """promtool makes blocks of it, and counts what the chain has."""
    log = LOGS / "chain.ndjson"
    stepped = subprocess.run(
        [sys.executable, "-m", "agent_exporter", "replay", "--step", "5s", log],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    (tmp_path / "page.om").write_bytes(stepped)
    promtool = program("promtool")
    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "page.om", tmp_path / "data"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (tmp_path / "data" / "wal").mkdir()  # `tsdb dump` wants one
    dump = subprocess.run(
        [promtool, "tsdb", "dump", "--match", 'agent_actions_total{action="llm_call"}', tmp_path / "data"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    planner = [row.split()[-2:] for row in dump.splitlines() if '"planner"' in row and '"success"' in row]
    # Stamped at the boundary after the line: the planner's first call ends at 09:00:02.
    assert planner[0] == ["1", "1773824405000"]
    assert {count for count, _ in planner} == {"1"}


def test_a_step_that_is_no_duration_is_wrong_use(capsys):
    """argparse's own exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        command(["replay", "--step", "soon", "x"])
    assert ended.value.code == 2
    assert "must be a duration above zero" in capsys.readouterr().err


def test_check_config_prints_every_fault_at_once(capsys):
    """Exit code 2; a good file is fine with 0."""
    path = HERE / "config" / "invalid-types.yaml"
    assert command(["check-config", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 9
    assert command(["check-config", str(HERE / "config" / "every-key.yaml")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith("every-key.yaml: fine")
    assert "agents.research-agent-01.terminate.auth_header_file: /run/secrets/agent is not there" in out


def test_schema_prints_a_json_schema(capsys):
    """2020-12, and its own description names what it cannot say."""
    assert command(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "256 bytes" in printed["description"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["run", "--web.listen-address", "everywhere"], "--web.listen-address: 'everywhere' must be HOST:PORT"),
        (["run", "--otlp.endpoint", "collector:4318"], "--otlp.endpoint: 'collector:4318' must be http://HOST:PORT"),
        (["replay", "nowhere-*.log"], "no file matches 'nowhere-*.log'"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(arguments, sentence, capsys):
    """Never a traceback."""
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [["replay"], ["validate"], ["explain", "--trace", "t"], ["benchmark", "--record"], ["breaker", "verify"]],
)
def test_a_file_that_is_not_there_is_told_in_one_wording(arguments, capsys):
    assert command([*arguments, "nowhere.log"]) == 2
    assert capsys.readouterr().err == "agent-exporter: nowhere.log: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"], ["replay", "--step", "5s"], ["backtest"], ["validate"], ["explain", "--trace", "t"],
        ["benchmark", "--record"],
    ],
)  # fmt: skip
def test_a_folder_in_place_of_a_file_is_wrong_use(arguments, tmp_path, capfd):
    """A sentence, and no page of zeros; the same for a glob that finds nothing but folders."""
    assert command([*arguments, str(tmp_path)]) == 2
    told = capfd.readouterr()
    assert (told.out, told.err.splitlines()[-1]) == ("", f"agent-exporter: {tmp_path}: Is a directory")


def test_a_glob_that_finds_folders_alone_finds_no_file(tmp_path, capfd):
    """And a name that leads nowhere is said to."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    assert command(["replay", f"{tmp_path}/fold*"]) == 2
    assert command(["replay", f"{tmp_path}/link"]) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.replace(str(tmp_path), "FOLDER").splitlines() == [
        "agent-exporter: no file matches 'FOLDER/fold*'",
        "agent-exporter: FOLDER/link: No such file or directory",
    ]


def test_an_address_in_use_is_a_sentence_and_exit_code_2():
    """Two exporters on one port."""
    with Running() as first:
        port = first.url.rsplit(":", 1)[1]
        second = subprocess.run(
            [sys.executable, "-m", "agent_exporter", "run", "--state.path=none", "--web.listen-address", f"127.0.0.1:{port}"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    assert second.returncode == 2
    told = f"cannot listen at 127.0.0.1:{port}: Address already in use; --web.listen-address HOST:PORT names another\n"
    assert second.stderr.endswith(told)
    assert "Traceback" not in second.stderr


def test_healthcheck_asks_the_running_exporter(capsys):
    """0 when it answers, 1 with a sentence when not."""
    with Running().ready() as running:
        address = running.url.removeprefix("http://")
        assert command(["healthcheck", "--web.listen-address", address]) == 0
        assert command(["healthcheck", "--ready", "--web.listen-address", address]) == 0
    assert command(["healthcheck", "--web.listen-address", f"127.0.0.1:{free_port()}"]) == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "",
        "run",
        "replay",
        "backtest",
        "explain",
        "validate",
        "check-config",
        "schema",
        "healthcheck",
        "probe",
        "benchmark",
        "breaker",
        "demo",
    ],
)
def test_every_help_text_is_as_it_was_looked_at(name, capsys, golden, monkeypatch):
    """Worth reading, and the same on every terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as ended:
        command([name, "--help"] if name else ["--help"])
    assert ended.value.code == 0
    if sys.version_info[:2] == (3, 11):  # later versions lay out the same words differently
        golden(f"help{'-' if name else ''}{name}.txt", capsys.readouterr().out)


def test_each_command_is_the_module_of_its_name():
    """Its parser and what runs it stand together."""
    offered = next(action.choices for action in _parser()._actions if action.dest == "command")
    named = {name: f"agent_exporter.cli.{name.replace('-', '_')}" for name in offered}
    assert {name: parser.get_default("run").__module__ for name, parser in offered.items()} == named
    assert list(named.values()) == [module.__name__ for module in COMMANDS]


def test_a_reader_that_hangs_up_is_no_error():
    """agent-exporter replay log | head."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_exporter", "validate", *[AIRLINE] * 3, HERE / "config" / "every-key.yaml"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_progress_is_shown_on_a_terminal_and_only_there(monkeypatch):
    """And wiped when done."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter([0.0, 0.5, 0.5, 2.0, 2.0, 2.1, 2.1, 3.0, 3.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console.sys, "stderr", terminal := Terminal())
    source = Source()
    source.name = "a\x1b.log"
    source.progress = lambda: (50_000_000, 100_000_000)
    progress = console.Progress()
    for _ in range(4):
        progress.show(source)
    progress.clear()
    assert terminal.getvalue() == (
        "\r\x1b[K'a\\x1b.log'  50 %  50 MB, 25 MB/s\r\x1b[K'a\\x1b.log'  50 %  50 MB, 17 MB/s\r\x1b[K"
    )


def test_run_shows_real_runs_as_replay_counts_them(tmp_path):
    """The same file, followed, once nothing earlier can come any more that would change an average or a loop."""
    log = tmp_path / "agents.log"
    log.write_bytes(gzip.decompress((LOGS / "tau-airline-gpt4o.ndjson.gz").read_bytes()))
    golden = agents_only(samples_of((HERE / "golden" / "airline.prom").read_text()))
    live = {name for name in golden if "session" in name or name == "agent_finding_timestamp_seconds"}
    wanted = {name: golden[name] for name in golden.keys() - live}
    with Running(log) as running:
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 3618)
        eventually(lambda: agents_only(running.samples()).items() >= wanted.items())
        page = running.get("/metrics", Accept=OPENMETRICS)[1]
    assert page.endswith("# EOF\n")
