"""Where `run` keeps its state if nothing says where: the platform's place, one folder for each set of sources."""

from __future__ import annotations

import logging
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_exporter.config import Config

log = logging.getLogger(__name__)


def with_state(config: Config, paths: Sequence[str], environ: Mapping[str, str] = os.environ) -> Config:
    """The config with a `state.path`, or with None if it is turned off or no folder can be made."""
    if config.state.path is not None:
        path: str | None = None if config.state.file is None else config.state.path
    else:
        path = _made(base(environ) / folder([*paths, *(source.path for source in config.sources.values())]))
    return replace(config, state=replace(config.state, path=path))


def base(environ: Mapping[str, str]) -> Path:
    """systemd's state directory of the unit, else that of the XDG base directories."""
    unit = environ.get("STATE_DIRECTORY", "").partition(":")[0]  # the first, of a unit that has several
    if unit:
        return Path(unit)
    home = environ.get("XDG_STATE_HOME", "")
    if not Path(home).is_absolute():  # the specification has relative ones ignored
        home = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")  # noqa: PTH111, PTH118
    return Path(home) / "agent-exporter"


def folder(sources: Sequence[str]) -> str:
    """A name for a set of sources, in any order: a word of the first, and a hash of all as absolute paths."""
    names = sorted(source if source == "-" else str(Path(source).absolute()) for source in sources) or ["otlp"]
    word = re.sub(r"[^A-Za-z0-9.]+", "-", Path(names[0]).name).strip("-.")[:32] or "stdin"
    return f"{word}-{sha256(chr(0).join(names).encode(errors='surrogateescape')).hexdigest()[:8]}"


def _made(path: Path) -> str | None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        log.warning("%s cannot hold the state (%s): name another with --state.path", path, error.strerror or error)
        return None
    state = path / "state.db"
    log.info("state is kept in %s; --state.path names another place, or none", state)
    return str(state)
