"""One request to an agent: bounded in time and size, never redirected, only to the address that the config names.

`agent_exporter.outgoing` says how.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from agent_exporter import outgoing
from agent_exporter.config.values import headers_in
from agent_exporter.probes.expectation import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_exporter.config.values import JMESPath

MAX_BODY = 64 << 10
"""Bytes of an answer: the longest answers of models have a tenth of it."""


class RequestError(Exception):
    """The request could not be made, so nothing is known about the agent: a sentence."""


class Endpoint(NamedTuple):
    """An agent's address and headers, from the config."""

    url: str
    headers_file: str | None = None


class Answer(NamedTuple):
    """The answer. `problem` says why there is none; `seconds` are measured in both cases."""

    status: int
    body: bytes
    seconds: float
    problem: str | None = None

    def part(self, path: JMESPath | None) -> Any:
        """The body as text, or the value at `path` in its JSON. Raises ValueError with a sentence."""
        if path is None:
            return self.body.decode(errors="replace")
        try:
            document = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError):
            raise ValueError(f"is not JSON: {quoted(self.body.decode(errors='replace'))}") from None
        found = path.of(document)
        if found is None:
            raise ValueError(f"has no {path}: {quoted(self.body.decode(errors='replace'))}")
        return found


async def ask(endpoint: Endpoint, path: str, body: Mapping[str, Any] | None, within: float) -> Answer:
    """GET a path, or POST a body as JSON, in at most `within` seconds. Raises RequestError."""
    headers = {"Accept": "application/json, */*;q=0.5"}
    if endpoint.headers_file is not None:
        try:
            headers |= headers_in(Path(endpoint.headers_file))
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"{endpoint.headers_file}: {getattr(error, 'strerror', None) or error}") from error
    if body is not None:
        headers["Content-Type"] = "application/json"
    content = None if body is None else msgspec.json.encode(body)
    request = outgoing.request(endpoint.url.rstrip("/") + path, headers, content, within)
    # One client per request: with a shared one, time in its queue would count as the agent's.
    http = outgoing.client(MAX_BODY)
    began = time.monotonic()
    try:
        answer = await http.fetch(request, raise_error=False)  # raises only without an answer
    except ValueError as error:  # for example a header that HTTP does not allow
        raise RequestError(f"the request cannot be made: {error}") from error
    except Exception as error:  # noqa: BLE001  (whatever an agent makes the client raise, it is no answer)
        return Answer(0, b"", time.monotonic() - began, f"no answer: {_why(error, within)}")
    finally:
        http.close()
    seconds = time.monotonic() - began
    return Answer(answer.code, answer.body, seconds)


def _why(error: Exception, within: float) -> str:
    if isinstance(error, HTTPTimeoutError):
        return f"not within {within:g} s"
    if isinstance(error, HTTPStreamClosedError | UnsatisfiableReadError):  # tornado does not say which
        return f"closed too early, longer than {MAX_BODY >> 10} KiB, or no HTTP"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
