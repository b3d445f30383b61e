"""Names of files: what a path or a glob leads to, and how it is written in messages."""

from __future__ import annotations

import errno
import glob
import os


def matches(pattern: str) -> list[str]:
    """The paths that a name or a glob leads to, in order of their names."""
    if os.path.lexists(pattern):  # a name may look like a pattern
        return [pattern]
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (pathlib stumbles over loops of links)


def nothing_at(pattern: str) -> FileNotFoundError:
    """The error for a path or a glob that leads to no file, worded as for any file."""
    if glob.has_magic(pattern):
        return FileNotFoundError(f"no file matches {quoted(pattern)}")
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), pattern)


def quoted(path: str) -> str:
    """For the log: a name may hold newlines and worse."""
    return ascii(path)
