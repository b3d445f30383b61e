"""Any log as a `Log`. Logs that are compressed, wrapped by a container runtime or read from a pipe are unpacked first.

The copy is a temporary file without a name, so it disappears with this process.
"""

from __future__ import annotations

import glob
import mmap
import os
import stat
import tempfile
import zlib
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING

from agent_exporter import formats
from agent_exporter.action import MAX_AHEAD
from agent_exporter.explain.log import BLOCK, Log
from agent_exporter.formats.containers import BOM, may_hold_wrapped
from agent_exporter.sources.once import reader
from agent_exporter.sources.paths import nothing_at
from agent_exporter.sources.splitting import Stream
from agent_exporter.statuses import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from agent_exporter.explain.log import Reading
    from agent_exporter.sources.place import Identity


class Unpacking:
    """A log that is being unpacked into a file of plain lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0

    def progress(self) -> tuple[int, int]:
        return self.done, 0


@contextmanager
def open_logs(
    paths: Iterable[str],
    report: Callable[[Reading], None],
    clock: float,
    words: Mapping[str, str] = WORDS,
    format_: str | None = None,
) -> Iterator[list[Log]]:
    """The logs of files, globs and "-", each file once. Raises OSError if one does not exist.

    `format_` is the name or the file of their format; None: it is found by their lines.
    """
    seen: set[Identity] = set()
    choice = formats.Choice.named(format_)
    with ExitStack() as stack:
        logs = []
        for path in paths:
            named = path == "-" or os.path.lexists(path)
            names = [path] if named else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
            if not names:
                raise nothing_at(path)
            for name in names:
                st = os.stat(0 if name == "-" else name)  # noqa: PTH116
                if (st.st_dev, st.st_ino) not in seen:
                    seen.add((st.st_dev, st.st_ino))
                    file, problem = _plain(name, st, report, choice)
                    stack.enter_context(file)
                    logs.append(Log(name, file, report, clock + MAX_AHEAD, words))
                    logs[-1].problem = problem
        yield logs


def _plain(
    name: str, st: os.stat_result, report: Callable[[Reading], None], choice: formats.Choice
) -> tuple[IO[bytes], str | None]:
    """A file of plain lines, and why it is incomplete, if it is."""
    if stat.S_ISREG(st.st_mode) and not name.endswith((".gz", ".zst")):
        file = open(0 if name == "-" else name, "rb", buffering=0, closefd=name != "-")  # noqa: SIM115  (the caller's)
        head = os.pread(file.fileno(), BLOCK, 0)
        format_ = formats.Choice(choice.mapping).new(name)  # with a memory of its own: this counts nothing
        format_.feed(head.split(b"\n"))
        if format_.passes and not format_.looking and not head.startswith((BOM, b"\0")) and not _may_hold_wrapped(file):
            return file, None
        file.close()
    return _unpacked(name, report, choice)


def _may_hold_wrapped(file: IO[bytes]) -> bool:
    """Whether a runtime has wrapped lines anywhere in the file; after a banner, the first of them may be far down."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return may_hold_wrapped(data)
    except (OSError, ValueError):  # an empty file, or one that cannot be mapped
        return False


def _unpacked(name: str, report: Callable[[Reading], None], choice: formats.Choice) -> tuple[IO[bytes], str | None]:
    """The same, as a copy without a name."""
    problem = None
    stream = Stream(choice.new(name))
    unpacking = Unpacking(name)
    with reader(name) as (file, _):
        copy = tempfile.TemporaryFile()  # noqa: SIM115  (the caller's)
        try:
            while data := file.read1(BLOCK):
                copy.writelines(line + b"\n" for line in stream.feed(data).lines)
                unpacking.done += len(data)
                report(unpacking)
        except (EOFError, OSError, zlib.error) as error:
            problem = str(error)
    copy.writelines(line + b"\n" for line in stream.end().lines)
    copy.flush()
    return copy, problem
