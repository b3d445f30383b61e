"""Names of files: the files of a path or a glob, and their names in messages."""

from __future__ import annotations

import errno
import glob
import os


def matches(pattern: str) -> list[str]:
    """The paths that match a name or a glob, sorted."""
    if os.path.lexists(pattern):  # a name may look like a glob
        return [pattern]
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (pathlib stumbles over loops of links)


def nothing_at(pattern: str) -> FileNotFoundError:
    """The error for a path or a glob without files, worded as for any file."""
    if glob.has_magic(pattern):
        return FileNotFoundError(f"no file matches {quoted(pattern)}")
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), pattern)


def quoted(path: str) -> str:
    """A name for the log: it may contain newlines and control characters."""
    return ascii(path)
