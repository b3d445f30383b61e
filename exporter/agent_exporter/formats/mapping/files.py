"""Mappings by name or path. The ones that come with the package are YAML files in `builtin/`.

`presets/` has beginnings: what a logger calls its time, its level and its errors. A file of the user extends them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_exporter.config.strict import ConfigError, document, text_of
from agent_exporter.formats.mapping.language import Faulty, Mapping, compile_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping as Mapping_

BUILT_IN = Path(__file__).parent / "builtin"
PRESETS = Path(__file__).parent / "presets"
_MERGED = ("defaults", "file")


def names() -> list[str]:
    """Of the formats that come with the package, in order."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def presets() -> list[str]:
    """Of the loggers that a format can extend, in order."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def is_file(name: str) -> bool:
    """Whether it names a file; else it is the name of a format."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def load(name: str) -> Mapping:
    """The format of a name, or of a file as it is now. Raises ConfigError with all faults."""
    return _compiled(name) if is_file(name) else _built_in(name)


@lru_cache
def _built_in(name: str) -> Mapping:
    return _compiled(name)


def _compiled(name: str) -> Mapping:
    if not is_file(name) and name in presets():
        raise ConfigError(
            [f"{name} is a beginning: write a file with `extends: {name}` and with `records` of your own"]
        )
    spec = _document(name)
    try:
        return compile_mapping(_label(name), spec)
    except Faulty as faulty:
        raise ConfigError([f"{name}: {fault}" for fault in faulty.faults]) from faulty


def source(name: str) -> str:
    """The text of the file. Raises ConfigError."""
    if is_file(name):
        return text_of(Path(name).expanduser())
    if name in presets():
        return text_of(PRESETS / f"{name}.yaml")
    if name in names():
        return text_of(BUILT_IN / f"{name}.yaml")
    raise ConfigError([f"{name!a} is no format: it must be the path of a YAML file, or one of {', '.join(names())}"])


def description(name: str) -> str:
    """Of a format or a preset that comes with the package."""
    return str(document(source(name), name)["description"])


def check(named: Mapping_[str, str]) -> None:
    """Raises ConfigError with all faults of all formats that a config names, by key."""
    faults = []
    for key, name in named.items():
        try:
            load(name)
        except ConfigError as error:
            faults += [f"{key}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError(faults)


@lru_cache(maxsize=1)
def detectable() -> tuple[Mapping, ...]:
    """The formats that come with the package and are recognized by their records."""
    found = [load(name) for name in names() if "\ndetect:" in source(name)]
    return tuple(mapping for mapping in found if mapping.detect)


def _document(name: str) -> Any:
    """The parsed file, with what it extends. Of several bases, the later ones count before the earlier."""
    spec = document(source(name), name)
    if not isinstance(spec, dict) or spec.get("extends") is None:
        return spec
    bases = spec["extends"] if isinstance(spec["extends"], list) else [spec["extends"]]
    known = [*names(), *presets()]
    for base in bases:
        if base not in known:
            raise ConfigError([f"{name}: extends: must be one of {', '.join(known)}, not {ascii(base)[:60]}"])
    merged: dict[str, Any] = {}
    for part in (*map(_document, bases), spec):
        inherited, merged = merged, {**merged, **part}
        for key in _MERGED:
            if isinstance(part.get(key), dict):
                merged[key] = inherited.get(key, {}) | part[key]
        if isinstance(part.get("records"), list):
            merged["records"] = part["records"] + inherited.get("records", [])
        if part is not spec:  # these are of the base alone
            merged.pop("description", None)
            merged.pop("detect", None)
    return merged


def _label(name: str) -> str:
    """The name of a format, as a label has it."""
    return re.sub(r"[^\w.-]", "_", Path(name).stem if is_file(name) else name, flags=re.ASCII)[:64] or "format"
