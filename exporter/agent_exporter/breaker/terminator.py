"""The call that stops a session: an HTTP POST, or a command with fixed arguments.

The config alone decides where the call goes and how. Of a log line only the ids are used: percent-encoded in a URL, or
as one whole argument of a command. The call follows no redirect and uses no shell.

    POST http://host:8080/v1/sessions/sess%2F1/terminate        Idempotency-Key: 5f0c...
    {"session_id":"sess/1","agent_id":"a","reason":"session_budget","idempotency_key":"5f0c...","evidence":{...}}
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec

from agent_exporter import outgoing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_exporter.breaker.intent import Intent
    from agent_exporter.config import Terminate

TIMEOUT = 5.0
"""Seconds for one attempt, including the connection."""
FIRST_BACKOFF, LAST_BACKOFF = 0.25, 5.0
"""Seconds between attempts, doubled each time: eight attempts in the grace period of 30 s."""
MAX_ANSWER = 64 << 10
"""Bytes of an answer that are read."""
MAX_WORDS = 200
"""Characters kept of an agent's reason for a refusal."""
MAX_CALLS = 64
"""Calls at the same time; max_terminations_per_minute is usually far lower."""
_PLACE = re.compile(r"\{(session_id|agent_id)\}")
GONE = frozenset({404, 410})
"""Answers that mean there is no such session, so it has stopped."""


class Refused(Exception):  # noqa: N818
    """The call was not taken; the sentence says why. `final` if another attempt would be the same."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


class Terminator:
    """Carries out intents. `how(agent_id)` is how to stop an agent, called for each attempt: a reload may change it.

    After each attempt it calls `answered(key, refusal or None)`, which returns whether to try again. Before the next
    attempt it calls `still_intended(key)`.
    """

    def __init__(
        self,
        how: Callable[[str], Terminate | None],
        answered: Callable[[str, Refused | None], Awaitable[bool]],
        still_intended: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._how = how
        self._answered = answered
        self._still_intended = still_intended
        self._room = asyncio.Semaphore(MAX_CALLS)

    async def carry_out(self, intent: Intent) -> None:
        """Make attempts until the agent takes one or further ones are useless."""
        delay = FIRST_BACKOFF
        while True:
            refusal = None
            settings = self._how(intent.agent_id)
            try:
                if settings is None:
                    raise Refused("agents.NAME.terminate was taken out of the config")
                async with self._room:
                    await terminate(intent, settings)
            except Refused as error:
                refusal = error
            if not await self._answered(intent.key, refusal):
                return
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311  (jitter)
            if not await self._still_intended(intent.key):
                return
            delay = min(2 * delay, LAST_BACKOFF)


_CHARACTERS = (
    "only letters, digits and . _ : - are, beginning with a letter or digit; $SESSION_ID and $AGENT_ID have any"
)
_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
"""An id that no program takes for an option, and a shell only for a word."""


async def terminate(intent: Intent, how: Terminate) -> None:
    """One attempt. Raises Refused."""
    if how.url is not None:
        await _post(intent, how, how.url)
    else:
        assert how.argv is not None
        await _execute(intent, how.argv)


async def _post(intent: Intent, how: Terminate, template: str) -> None:
    names = {"session_id": intent.session_id, "agent_id": intent.agent_id}
    for name, value in names.items():
        if f"{{{name}}}" in template and value.strip(".") == "":  # dots alone lead to another path, encoded or not
            raise Refused(f"{name} {value!r} cannot stand in a URL", final=True)
    url = _PLACE.sub(lambda found: quote(names[found[1]], safe=""), template)
    place = urlsplit(url).netloc.rpartition("@")[2]
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": intent.idempotency_key,
    }
    if how.auth_header_file is not None:
        try:
            headers["Authorization"] = Path(how.auth_header_file).read_text(encoding="utf-8").strip()  # noqa: ASYNC240  (one small file)
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"auth_header_file {how.auth_header_file} cannot be read: {error}") from error
    body = {
        "session_id": intent.session_id,
        "agent_id": intent.agent_id,
        "reason": intent.reason,
        "idempotency_key": intent.idempotency_key,
        "trace_id": intent.trace_id,
        "evidence": intent.evidence,
    }
    request = outgoing.request(url, headers, msgspec.json.encode(body), TIMEOUT)
    client = outgoing.client(MAX_ANSWER)
    try:
        answer = await client.fetch(request, raise_error=False)
    except Exception as error:  # whatever the agent answers, even endless headers: try again
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise Refused(f"{place}: {why[:MAX_WORDS]}") from error
    finally:
        client.close()
    if not (200 <= answer.code < 300 or answer.code in GONE):
        raise Refused(f"{place}: HTTP {answer.code} {answer.reason[:MAX_WORDS]}")


async def _execute(intent: Intent, argv: list[str]) -> None:
    names = {"{session_id}": intent.session_id, "{agent_id}": intent.agent_id}
    for place in names.keys() & set(argv):
        if not _HARMLESS.fullmatch(names[place]):
            raise Refused(f"{place} {names[place]!r} cannot be an argument of {argv[0]}: {_CHARACTERS}", final=True)
    arguments = [names.get(argument, argument) for argument in argv]
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    environment["IDEMPOTENCY_KEY"] = intent.idempotency_key
    for name, value in (("SESSION_ID", intent.session_id), ("AGENT_ID", intent.agent_id)):
        if "\0" in value:
            raise Refused("an id with a NUL cannot be given to a command", final=True)
        environment[name] = value
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
    except OSError as error:
        raise Refused(f"{argv[0]}: {error.strerror}") from error
    try:
        code = await asyncio.wait_for(process.wait(), TIMEOUT)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise Refused(f"{argv[0]} took longer than {TIMEOUT:g} s") from error
        raise
    if code != 0:
        raise Refused(f"{argv[0]} ended with exit code {code}")
