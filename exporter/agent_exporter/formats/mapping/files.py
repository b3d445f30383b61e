"""Mappings by name or path. The ones that come with the package are YAML files in `builtin/`."""

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
_MERGED = ("defaults", "file")


def names() -> list[str]:
    """Of the formats that come with the package, in order."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def is_file(name: str) -> bool:
    """Whether it names a file; else it is the name of a format."""
    return "/" in name or name.endswith((".yaml", ".yml"))


@lru_cache(maxsize=32)
def load(name: str) -> Mapping:
    """The format of a name, or of a file. Raises ConfigError with all faults."""
    spec = _document(name)
    try:
        return compile_mapping(_label(name), spec)
    except Faulty as faulty:
        raise ConfigError([f"{name}: {fault}" for fault in faulty.faults]) from faulty


def source(name: str) -> str:
    """The text of the file. Raises ConfigError."""
    if not is_file(name) and name not in names():
        raise ConfigError(
            [f"{name!a} is no format: it must be the path of a YAML file, or one of {', '.join(names())}"]
        )
    return text_of(Path(name).expanduser() if is_file(name) else BUILT_IN / f"{name}.yaml")


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
    spec = document(source(name), name)
    base = spec.get("extends") if isinstance(spec, dict) else None
    if base is None:
        return spec
    if base not in names():
        raise ConfigError([f"{name}: extends: must be one of {', '.join(names())}, not {ascii(base)[:60]}"])
    inherited = _document(base)
    merged = {key: value for key, value in inherited.items() if key not in {"description", "detect"}} | spec
    for key in _MERGED:
        if isinstance(spec.get(key), dict):
            merged[key] = inherited.get(key, {}) | spec[key]
    if isinstance(spec.get("records"), list):
        merged["records"] = spec["records"] + inherited.get("records", [])
    return merged


def _label(name: str) -> str:
    """The name of a format, as a label has it."""
    return re.sub(r"[^\w.-]", "_", Path(name).stem if is_file(name) else name, flags=re.ASCII)[:64] or "format"
