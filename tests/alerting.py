"""Prometheus and Alertmanager, real ones, with the shipped rules and configuration in a folder of their own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socketserver
import subprocess
import threading
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Self

import yaml
from running import ROOT, Answering, eventually, free_port

from agent_exporter.backtest.rules import seconds

RULES = ROOT / "alert_rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
START = "2026-03-18T09:15:32Z"
"""When an alert began, if nothing else is said."""


def run(*command, **more) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(url: str):
    """Its JSON, or None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


def copied(folder: Path) -> None:
    """Rules and configuration in a place of their own, with no secret filled in."""
    shutil.copytree(RULES, folder, dirs_exist_ok=True)
    for name in ("exporter_token", "slack_url", "pagerduty_key", "watchdog_url", "opsgenie_key"):
        (folder / name).touch()
    for name in ("prometheus.yml", "alertmanager.yml"):
        text = (folder / name).read_text()
        text = re.sub(r"/etc/(prometheus|alertmanager)/secrets", str(folder), text)
        (folder / name).write_text(text)


class Mailbox:
    """An SMTP server on loopback that takes every message. `letters` are parsed messages."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        box = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 test\r\n")
                for line in self.rfile:
                    word = line.split()[0].upper() if line.split() else b""
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                        box.letters.append(message_from_bytes(letter, policy=policy.default))
                    self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                    if word == b"QUIT":
                        return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server:
    """One that runs at `url` until it is left."""

    def __init__(self, url: str, command: list[str], **more) -> None:
        self.url = url
        self.process = subprocess.Popen(command, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Prometheus(Server):
    """One with the configuration of `folder`, which asks every second and evaluates as often.

    It asks the exporters at `target` and `more`, and those collectors; no other job is kept.
    """

    def __init__(
        self, program, folder: Path, target: str, *more: str, collectors: tuple[str, ...] = (), alertmanager: str = ""
    ) -> None:
        config = yaml.safe_load((folder / "prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        asked = {"agent-exporter": (target, *more)} | ({"otel-collector": collectors} if collectors else {})
        config["scrape_configs"] = [
            jobs[name] | {"static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}]}
            for name, urls in asked.items()
        ]
        there = [{"targets": [alertmanager.removeprefix("http://")]}] if alertmanager else []
        config["alerting"]["alertmanagers"] = [{"static_configs": there}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        super().__init__(
            f"http://{address}",
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
                f"--web.user-assets={RUNBOOKS}",
                "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
                "--web.enable-remote-write-receiver",
                "--log.level=error",
            ],
        )

    def reload(self) -> None:
        """Have it read its files anew."""
        self.process.send_signal(signal.SIGHUP)

    def query(self, expr: str) -> list[dict]:
        """The series of an answer; none while it does not answer."""
        found = ask(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        return found["data"]["result"] if found else []


class Alertmanager(Server):
    """One with our configuration, waits shortened, and Slack and PagerDuty replaced by a local receiver.

    With `faster`, all its times are divided by that; else only the wait before a group's first message is shortened.
    With `smarthost`, the address of a mail server, the receivers that are shipped as comments are in use, too.
    """

    def __init__(self, program, tmp_path, *, secrets: bool, faster: int = 0, smarthost: str = "") -> None:
        copied(tmp_path)
        self._amtool = program("amtool")
        self._receiver = Answering(202, b"ok")
        there = self._receiver.url
        if secrets:
            (tmp_path / "slack_url").write_text(f"{there}/slack\n")
            (tmp_path / "pagerduty_key").write_text("key\n")
        text = (tmp_path / "alertmanager.yml").read_text()
        text = _faster(text, faster) if faster else re.sub(r"group_wait: \S+", "group_wait: 1s", text)
        text = text.replace(
            "        severity: critical\n", f"        severity: critical\n        url: {there}/pagerduty\n"
        )
        if smarthost:
            text = re.sub(r"^    # (opsgenie_configs:|email_configs:|  .*)$", r"    \1", text, flags=re.MULTILINE)
            text = re.sub(r"^ *auth_\w+: .*\n", "", text, flags=re.MULTILINE)
            text = text.replace(
                "smarthost: mail.example.com:587", f"smarthost: {smarthost}\n        require_tls: false"
            )
            text = text.replace("priority: P1", f"priority: P1\n        api_url: {there}/opsgenie/")
            (tmp_path / "opsgenie_key").write_text("key\n")
        (tmp_path / "alertmanager.yml").write_text(text)
        address = f"127.0.0.1:{free_port()}"
        super().__init__(
            f"http://{address}",
            [
                program("alertmanager"),
                f"--config.file={tmp_path / 'alertmanager.yml'}",
                f"--storage.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
                "--log.level=error",
            ],
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: ask(f"{self.url}/api/v2/status"))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._receiver.__exit__()

    @property
    def bodies(self) -> list[tuple[str, dict]]:
        """(path, JSON) of every message that it has sent."""
        return [(path, json.loads(body)) for path, _, body in self._receiver.asked]

    def fire(self, *alerts: dict) -> None:
        """As Prometheus posts them."""
        now = datetime.now(UTC)
        sent = [{"startsAt": START, "endsAt": (now + timedelta(minutes=5)).isoformat()} | alert for alert in alerts]
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps(sent).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=5).close()

    def state(self, name: str) -> str:
        """Of an alert: active or suppressed."""
        found = ask(f"{self.url}/api/v2/alerts?filter=alertname%3D{name}")
        return found[0]["status"]["state"]

    def states(self) -> dict[tuple[str, str], str]:
        """Of all alerts: active or suppressed, by name and by the agent or the instance."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("agent_id") or alert["labels"].get("instance", "")): (
                alert["status"]["state"]
            )
            for alert in ask(f"{self.url}/api/v2/alerts") or []
        }

    def amtool(self, line: str) -> str:
        """A command line of a runbook, sent here."""
        words = line.split()
        assert words[0] == "amtool"
        return run(self._amtool, *words[1:-1], f"--alertmanager.url={self.url}")


def _faster(text: str, by: int) -> str:
    return re.sub(
        r"(group_wait|group_interval|repeat_interval): (\S+)",
        lambda found: f"{found[1]}: {int(1000 * seconds(found[2]) / by)}ms",
        text,
    )
