"""Reads a YAML document into typed sections. Strict: all faults are reported at once, each with its path."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Struct

from agent_exporter.config.renamed import NEW_NAMES
from agent_exporter.config.values import Duration, FilePath, JMESPath, QuietHours, Regex, duration
from agent_exporter.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class ConfigError(Exception):
    """The file is not valid. `faults` are sentences, each with the path of its key."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the config. Frozen: a reload replaces the whole configuration or nothing."""


MAX_VALUES = 100_000
"""Keys and values of a document: 5,000 agents with ten keys each. So many are read in some 5 s."""
MAX_DEPTH = 64
MAX_BYTES = 16 << 20
_VARIABLE = re.compile(r"\$\{[^}]*\}?")
S = TypeVar("S", bound=Section)


def text_of(path: Path) -> str:
    """A file's text. Raises ConfigError, also for one of more than MAX_BYTES."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([f"{path}: longer than {MAX_BYTES >> 20} MiB"])
        return data.decode()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 ({error.reason} at byte {error.start})"]) from error


def document(text: str, name: str) -> Any:
    """A YAML document. Raises ConfigError."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([f"{name}{where}: {problem}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{name}: nested too deeply"]) from error
    except ValueError as error:  # a number of thousands of digits, or a date that does not exist
        raise ConfigError([f"{name}: a value cannot be read: {str(error).split(';')[0]}"]) from error


def read_strictly(
    text: str,
    name: str,
    expected: type[S],
    contradictions: Callable[[S], Iterable[str]],
    completed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda found: found,
) -> S:
    """A YAML document as a section whose keys all have defaults. Raises ConfigError with all faults.

    `completed` adds values that the document leaves out.
    """
    found = document(text, name)
    found = {} if found is None else found
    found = completed(found) if isinstance(found, Mapping) else found
    faults = list(_faults(found, expected, ""))
    if isinstance(found, Mapping):
        # Check the valid parts further, so that all faults are reported at once.
        sound: Any = _sound(found, lambda part: any(_faults(part, expected, "")), 3) if faults else found
        sound = {} if sound is msgspec.UNSET else sound
        of_names = {key for key, hint in get_type_hints(expected).items() if get_origin(hint) is dict}
        for section in of_names & sound.keys():  # `name:` with nothing after it is a name with the defaults
            sound[section] = {name: {} if inner is None else inner for name, inner in sound[section].items()}
        config = msgspec.convert(sound, expected, dec_hook=_decode)
        faults += contradictions(config)
        if not faults:
            return config
    raise ConfigError([f"{name}: {fault}" for fault in faults])


def _sound(value: Any, faulty: Callable[[Any], bool], depth: int) -> Any:
    """A value without its faulty parts, down to `depth` keys: a section, a name in it, and a key of that.

    UNSET if nothing is left.
    """
    if not faulty(value):
        return value
    if depth == 0 or not isinstance(value, Mapping):
        return msgspec.UNSET
    rest = {}
    for key, inner in value.items():
        kept = _sound(inner, lambda part, key=key: faulty({key: part}), depth - 1)  # type: ignore[misc]
        if kept is not msgspec.UNSET:
            rest[key] = kept
    return rest or msgspec.UNSET


class _Loader(yaml.SafeLoader):
    """Refuses a duplicate key, which YAML forbids and PyYAML accepts: the first value would be lost silently.

    Refuses also what would take minutes or all memory: too many values, counted as often as aliases repeat them.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Raises YAMLError beyond MAX_VALUES and MAX_DEPTH, before the document is composed."""
        self._values += 1
        self._depth += 1
        if self._values > MAX_VALUES or self._depth > MAX_DEPTH:
            problem = f"more than {MAX_VALUES:,} values" if self._values > MAX_VALUES else "nested too deeply"
            raise yaml.composer.ComposerError(None, None, problem, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """The document. Raises YAMLError if its aliases make it too large, or endless."""
        document = super().get_single_node()
        if document is not None:
            _expanded(document, {})
        return document

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *other`, which the base class merges
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (dict, list)):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Values in a node, each as often as an alias repeats it. Raises YAMLError beyond MAX_VALUES."""
    values = known.get(id(node))
    if values == 0:
        raise yaml.composer.ComposerError(None, None, "an alias stands within what it names", node.start_mark)
    if values is None:
        known[id(node)] = 0
        values = 1
        if isinstance(node, yaml.CollectionNode):
            for inner in node.value:
                for part in inner if isinstance(inner, tuple) else (inner,):
                    values += _expanded(part, known)
        known[id(node)] = values
    if values > MAX_VALUES:
        raise yaml.composer.ComposerError(
            None, None, f"aliases make more than {MAX_VALUES:,} values of it", node.start_mark
        )
    return values


_hints = cache(partial(get_type_hints, include_extras=True))
_fields = cache(msgspec.structs.fields)
"""Remembered: a fleet has a section for each of its agents."""


def _faults(value: Any, expected: Any, path: str) -> Iterator[str]:
    """Every fault in a value that must have the type `expected`."""
    origin = get_origin(expected)
    if origin in {Union, types.UnionType}:
        if value is None:
            return
        expected = next(kind for kind in get_args(expected) if kind is not type(None))
        origin = get_origin(expected)
    if _is_section(expected):
        yield from _faults_of_section(value, expected, path)
    elif origin is dict:
        if not isinstance(value, Mapping):
            yield f"{path}: must be a mapping of names, not {_shown(value)}"
            return
        for key, inner in value.items():
            if not isinstance(key, str):
                yield f"{_join(path, str(key))}: the name must be text: put it in quotes"
            elif not key or len(key.encode()) > 256:
                yield f"{_join(path, key)}: the name must be 1 to 256 bytes"
            else:
                yield from _faults({} if inner is None else inner, get_args(expected)[1], _join(path, key))
    elif origin is list and isinstance(value, list) and _is_section(get_args(expected)[0]):
        for number, inner in enumerate(value):
            yield from _faults(inner, get_args(expected)[0], f"{path}[{number}]")
    elif origin is list and isinstance(value, list) and get_origin(get_args(expected)[0]) is Literal:
        for inner in value:
            yield from _faults(inner, get_args(expected)[0], path)
    elif expected == list[str] and isinstance(value, list) and any(not isinstance(inner, str) for inner in value):
        for inner in value:  # YAML reads true, no and 5 as other things than text
            if not isinstance(inner, str):
                yield f"{path}: {_shown(inner).lower()} must be text: put it in quotes"
    elif origin is Literal:
        if value not in get_args(expected):
            yield f"{path}: must be {' or '.join(get_args(expected))}, not {_shown(value)}"
    else:
        try:
            msgspec.convert(value, expected, dec_hook=_decode)
        except msgspec.ValidationError as error:
            yield f"{path}: {_sentence(error, value)}"
        else:
            if expected is str or expected == list[str]:
                yield from _unreplaced(value, path)


def _unreplaced(value: str | list[str], path: str) -> Iterator[str]:
    """Variables of the environment in a text. What is compared with an agent's answer (`Content`) may have them."""
    for text in [value] if isinstance(value, str) else value:
        if variable := _VARIABLE.search(text):
            yield f"{path}: must be the text as it is: {plain(variable[0])} is not replaced by the environment's value"


def _is_section(expected: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, Section)


def _faults_of_section(value: Any, expected: type[Section], path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path or 'the file'}: must be a mapping, not {_shown(value)}"
        return
    hints = _hints(expected)
    for key, inner in value.items():
        if key in hints:
            yield from _faults(inner, hints[key], _join(path, key))
        else:
            renamed = NEW_NAMES.get(expected.__name__, {}).get(str(key))
            if renamed is not None:
                yield f"{_join(path, str(key))}: is called {renamed} now"
                continue
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(hints)}"
            yield f"{_join(path, str(key))}: unknown key{hint}"
    for info in _fields(expected):
        if info.required and info.name not in value:
            yield f"{_join(path, info.name)}: is required"


def _decode(expected: type, value: Any) -> Any:
    if expected is Duration:
        return duration(value if isinstance(value, str) else "")
    if expected is QuietHours:
        return QuietHours(value if isinstance(value, str) else "")
    if expected in {FilePath, Regex, JMESPath}:
        if not isinstance(value, str):
            raise ValueError("must be text")
        return expected(value)
    raise NotImplementedError(expected)


def _sentence(error: msgspec.ValidationError, value: Any) -> str:
    text = str(error).split(" - at `")[0]
    if text.startswith("must"):
        return f"{text}, not {_shown(value)}"
    names = text.split("`")
    words = {
        "int": "a whole number", "str": "text", "bool": "true or false", "float": "a number", "array": "a list",
        "object": "a mapping", "date": "a date such as 2026-11-24",
    }  # fmt: skip
    if text.startswith("Expected") and len(names) > 1:
        kind = words.get(names[1].split(" | ")[0], names[1])
        bound = names[2].split(",")[0].strip()
        return f"must be {kind}{' ' + bound if bound else ''}, not {_shown(value)}"
    if "date" in text:
        return f"must be a date such as 2026-11-24, not {_shown(value)}"
    return f"{text[:1].lower()}{text[1:]}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else ascii(value)[:60]


def _join(path: str, key: str) -> str:
    shown = plain(key)
    return f"{path}.{shown}" if path else shown
