"""Which lines count against an agent. A line can name any agent, but its writer cannot choose where it comes from.

    agents:
      research-01: {trusted_sources: ["/var/log/agents/research/*"], ...}    files, by real path ("-" is standard input)
      "support-*": {trusted_sources: ["k8s.pod.name=support-*"], ...}        OTLP, by an attribute of the resource

The collector sets the resource attributes of the container or pod. Without `server.token_file` anyone on this machine
could set them, so then they do not count. `"*"` trusts every line.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from glob import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_exporter.config import Agent, Config
    from agent_exporter.lines import Origin

ANYBODY = "*"
MAX_REMEMBERED = 4_096
"""Answers kept of each kind; then the table starts again."""
_FOLDER = re.compile(r"/(?:[^*?\[/]*/)*")
"""The folders of a glob up to the first wildcard, and the / after them."""


class Authority:
    """Answers for one config. A reload creates a new instance."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._attested = config.server.token_file is not None
        self.idle = not any(any(_of_interest(agent)) for agent in config.agents.values())
        """The config watches no agent, so the breaker need not look at lines."""
        self._known: dict[str, tuple[bool, bool]] = {}
        self._allows: dict[tuple[str, Origin], bool] = {}

    def guards(self, agent_id: str) -> bool:
        """Whether this agent can be stopped: the config says how (`terminate`)."""
        return self._settings(agent_id)[0]

    def vouched(self, agent_id: str) -> bool:
        """Whether the agent has `trusted_sources`: then only lines from them count against its budget."""
        return self._settings(agent_id)[1]

    def watches(self, agent_id: str) -> bool:
        """Whether the breaker looks at its lines: it can be stopped, or may ask for the rest of its budget."""
        return any(self._settings(agent_id))

    def _settings(self, agent_id: str) -> tuple[bool, bool]:
        found = self._known.get(agent_id)
        if found is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            found = self._known[agent_id] = _of_interest(self._config.agent(agent_id))
        return found

    def allows(self, agent_id: str, origin: Origin) -> bool:
        """Whether a line of this origin counts against the agent."""
        found = self._allows.get((agent_id, origin))
        if found is None:
            if len(self._allows) >= MAX_REMEMBERED:
                self._allows.clear()
            globs = self._config.agent(agent_id).trusted_sources or ()
            found = self._allows[agent_id, origin] = any(self._fits(glob, origin) for glob in globs)
        return found

    def _fits(self, glob: str, origin: Origin) -> bool:
        if glob == ANYBODY:
            return True
        key, equals, value = glob.partition("=")
        if glob.startswith("/") or glob == "-":
            return fnmatchcase(origin.path, _without_links(glob))
        # Compare the key exactly: a sender chooses its attributes, so a glob would accept a key of its own.
        return bool(equals) and self._attested and any(k == key and fnmatchcase(v, value) for k, v in origin.attributes)


def _without_links(glob: str) -> str:
    """The glob with the real path of its folder: an origin is a real path."""
    folder = _FOLDER.match(glob)
    return escape(os.path.realpath(folder[0])).rstrip("/") + glob[folder.end() - 1 :] if folder is not None else glob


def _of_interest(agent: Agent) -> tuple[bool, bool]:
    """(whether the config says how to stop it, whether it has `trusted_sources`)"""
    return agent.terminate is not None, agent.trusted_sources is not None
