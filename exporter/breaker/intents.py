"""The table of intents: bounded, stored, and looked up by session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exporter.breaker.intent import ROW, Intent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.state import Row

MOST = 10_000
"""Intents remembered; those that changed longest ago go first, but for those that are being carried out."""


class Intents:
    """Iterate over it for all of them, oldest first."""

    def __init__(self) -> None:
        self._all: dict[str, Intent] = {}
        self._of_session: dict[tuple[str, str], list[Intent]] = {}
        self._dirty: set[Intent] = set()
        self._gone: list[str] = []

    def __iter__(self) -> Iterator[Intent]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: str) -> Intent | None:
        """By the key of its row."""
        return self._all.get(key)

    def of(self, agent_id: str, session_id: str) -> Sequence[Intent]:
        """Those of a session."""
        return self._of_session.get((agent_id, session_id), ())

    def add(self, intent: Intent) -> None:
        """One that is new."""
        if len(self._all) >= MOST:
            self._evict()
        self._keep(intent)
        self.touch(intent)

    def touch(self, intent: Intent) -> None:
        """It has changed."""
        self._dirty.add(intent)

    def changes(self) -> Iterator[Row]:
        """Rows of what changed."""
        for key in self._gone:
            yield ROW, key, None
        self._gone.clear()
        for intent in self._dirty:
            yield ROW, intent.key, msgspec.msgpack.encode(intent)
        self._dirty.clear()

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up those of a former run."""
        decode = msgspec.msgpack.Decoder(Intent).decode
        for _, value in rows:
            self._keep(decode(value))

    def _keep(self, intent: Intent) -> None:
        self._all[intent.key] = intent
        self._of_session.setdefault((intent.agent_id, intent.session_id), []).append(intent)

    def _evict(self) -> None:
        """Make room for an eighth."""
        idle = [intent for intent in self if intent.status not in {"met", "intended", "called"}]
        for intent in sorted(idle, key=lambda intent: intent.changed)[: MOST // 8]:
            del self._all[intent.key]
            self._dirty.discard(intent)
            self._gone.append(intent.key)
            others = self._of_session[intent.agent_id, intent.session_id]
            others.remove(intent)
            if not others:
                del self._of_session[intent.agent_id, intent.session_id]
