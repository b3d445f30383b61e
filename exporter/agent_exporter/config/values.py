"""Types of config values beside numbers and text, and what is wrong with an invalid one."""

from __future__ import annotations

import re
from ipaddress import ip_address
from os.path import expanduser
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from agent_exporter.text import without_credentials

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:10777"
"""Ports 9100 to 9999 are all allocated to other exporters."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(float):
    """Seconds, written `250ms`, `30s`, `5m`, `2h` or `7d`."""


class QuietHours:
    """A span of the UTC day, in minutes from `start` to `end`, written "22:00-06:00"; may cross midnight."""

    def __init__(self, text: str) -> None:
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text)
        if match is None:
            raise ValueError('must be UTC hours such as "22:00-06:00", in quotes')
        hours = [int(number) for number in match.groups()]
        self.start, self.end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]

    def contain(self, now: float) -> bool:
        """Whether a time, in seconds since 1970, is within the span."""
        minute = int(now % 86400) // 60
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


class FilePath(str):
    """A path, or a glob of paths. `~` is the home folder; environment variables are not replaced."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ValueError."""
        if match := re.search(r"\$(?:\{[^}]*\}?|[A-Za-z_]\w*)", text):
            raise ValueError(f"must be a path as it is: {match[0]} is not replaced by the environment's value")
        path = expanduser(text)  # noqa: PTH111  (a Path would change what is a glob)
        if path.startswith("~"):
            raise ValueError("must be a path: there is no such user's home folder")
        return super().__new__(cls, path)


class Regex(str):
    """A regular expression for RE2: matching takes linear time, whatever an agent answers."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ValueError."""
        import re2  # noqa: PLC0415  (few configs have one)

        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(text, options)
        except re2.error as error:
            raise ValueError(f"must be a regular expression of RE2 ({_word(error)})") from error
        return super().__new__(cls, text)

    def finds(self, text: str) -> bool:
        """Whether some part of a text matches."""
        import re2  # noqa: PLC0415

        return re2.search(self, text) is not None


class JMESPath(str):
    """A JMESPath expression, such as `choices[0].message.content`: it selects one value of an answer."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ValueError."""
        import jmespath  # noqa: PLC0415  (few configs have one)

        try:
            jmespath.compile(text)
        except (jmespath.exceptions.JMESPathError, ValueError) as error:
            raise ValueError(f"must be a JMESPath expression such as a.b[0].c ({_word(error)})") from error
        return super().__new__(cls, text)

    def of(self, document: Any) -> Any:
        """The selected value of a document, or None. Raises ValueError if a function does not fit its argument."""
        import jmespath  # noqa: PLC0415

        return jmespath.search(self, document)


def duration(text: str) -> Duration:
    """Read a duration as it is written in the file. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError("must be a duration above zero, such as 30s, 5m or 7d")
    return Duration(seconds)


def listen_fault(text: str) -> str | None:
    """What is wrong with an address to listen on, or None."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return f"{text!r} must be HOST:PORT, such as {DEFAULT_LISTEN} or [::1]:10777"
    if host != "localhost":
        try:
            ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return f"{host!r} is neither an address nor localhost"
    return None


def host_fault(name: str) -> str | None:
    """What is wrong with a host name for a Host header, or None."""
    if re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
        return None
    return f"{name!r} must be a host's name without scheme and port, such as host.docker.internal"


def source_fault(glob: str) -> str | None:
    """What is wrong with an entry of `trusted_sources`, or None; `breaker.authority` says what they mean."""
    if glob in {"*", "-"} or glob.startswith("/") or glob.partition("=")[0] not in {"", glob}:
        return None
    return f'{glob!r} must be an absolute path, "-", an attribute such as "k8s.pod.name=research-*", or "*"'


def url_fault(text: str) -> str | None:
    """What is wrong with the address of an HTTP server, or None."""
    shown = without_credentials(text)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        return f"{shown!r}: {without_credentials(str(error))}"
    if url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        return f"{shown!r} must be http://HOST:PORT or https://HOST:PORT"
    return None


def headers_in(path: Path) -> dict[str, str]:
    """The lines `Name: value` of a file. Raises OSError, UnicodeDecodeError."""
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def is_glob(name: str) -> bool:
    """Whether the name is a glob."""
    return any(character in name for character in "*?[")


def _word(error: Exception) -> str:
    """The first line of a library's error message, which may be bytes."""
    said = error.args[0] if error.args and isinstance(error.args[0], bytes) else str(error)
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return text.splitlines()[0].rstrip(":") if text else type(error).__name__
