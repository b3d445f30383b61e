"""Why a command was not done: a sentence, and an exit code."""

from __future__ import annotations

from agent_exporter.text import plain


class Usage(Exception):  # noqa: N818  (it is what the user gets)
    """A sentence about what was asked for wrongly: exit code 2."""


class Failed(Exception):  # noqa: N818  (the same)
    """A sentence about what went wrong with the input: exit code 1."""


def unread(error: OSError) -> Usage:
    """What is wrong with a file, in one wording for all commands."""
    return Usage(f"{plain(str(error.filename))}: {error.strerror}" if error.filename else str(error))
