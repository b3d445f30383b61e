"""A document of the language as a Mapping. Strict: all faults at once, each with its path."""

from __future__ import annotations

import difflib
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from agent_exporter.formats.mapping import convert, paths
from agent_exporter.formats.mapping.conditions import conditions
from agent_exporter.formats.mapping.keys import (
    ANY,
    BOOL,
    FIELDS,
    FORMAT,
    MAX_LINES,
    NUMBER,
    RULE,
    TEXT,
    TIME,
    WHOLE,
    field_kind,
)
from agent_exporter.formats.mapping.values import nothing, value
from agent_exporter.lines import MAX_LINE
from agent_exporter.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent_exporter.formats.mapping.paths import Getter

MAX_RULES = 200
"""Of one format."""
_BUILT_IN = {"start", "outer", "path"}
"""Variables that no `remember` sets."""


class Faulty(Exception):  # noqa: N818  (a sentence for each fault)
    """The document is no mapping. `faults` are sentences, each with the path of its key."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Rule:
    """One entry of `records`, compiled. What it does not have is None."""

    __slots__ = (
        "continues",
        "delta",
        "each",
        "emit",
        "end",
        "keep",
        "mute",
        "once",
        "remember",
        "start",
        "when",
        "where",
    )

    def __init__(
        self, spec: dict[str, Any], defaults: dict[str, Any], switch: str | None, at: str, by: Compiler
    ) -> None:
        by.in_each = "each" in spec
        when = spec.get("when")
        if switch is not None and isinstance(when, dict) and _keys_of(when, switch):
            when = {path: expected for path, expected in when.items() if path != switch}  # the switch has seen to it
        by.in_each = False
        self.when = conditions(when, f"{at}.when", by)
        self.each = by.path(spec["each"], f"{at}.each") if "each" in spec else None
        by.in_each = self.each is not None
        if "where" in spec and self.each is None:
            by.fault(f"{at}.where", "goes with each")
        self.where = conditions(spec.get("where"), f"{at}.where", by)
        self.remember = by.values(spec.get("remember"), f"{at}.remember")
        self.start = value(spec["start"], f"{at}.start", by) if "start" in spec else None
        if "keep" in spec and self.start is None:
            by.fault(f"{at}.keep", "goes with start")
        self.keep = by.values(spec.get("keep"), f"{at}.keep")
        self.end = value(spec["end"], f"{at}.end", by) if "end" in spec else None
        self.once = value(spec["once"], f"{at}.once", by) if "once" in spec else None
        self.delta = value(spec["delta"], f"{at}.delta", by) if "delta" in spec else None
        self.mute = by.yes(spec, "mute", at)
        self.continues = by.yes(spec, "continue", at)
        self.emit = None
        if "emit" in spec:
            fields = spec["emit"]
            if isinstance(fields, dict):
                self.emit = builder(defaults | fields, f"{at}.emit", by, set(fields))
            else:
                by.fault(f"{at}.emit", "must be a mapping from fields to values")
        for key in ("once", "delta", "mute"):
            if key in spec and "emit" not in spec:
                by.fault(f"{at}.{key}", "goes with emit")
        by.in_each = False


class Mapping:
    """A format: its rules, and what is to be known of its files."""

    def __init__(self, name: str, spec: dict[str, Any], by: Compiler) -> None:
        self.name = name
        self.description = by.string(spec.get("description", ""), "description")
        self.max_line = by.bytes_(spec.get("max_line", MAX_LINE), "max_line")
        self.zone = by.zone = by.timezone(spec.get("timezone", "UTC"))
        self.file = by.values(spec.get("file"), "file")
        self.type = value(spec["type"], "type", by) if "type" in spec else None
        self.inside = value(spec["inside"], "inside", by) if "inside" in spec else None
        self.detect = [
            test
            for number, each in enumerate(by.list_(spec.get("detect", []), "detect"))
            if (test := conditions(each, f"detect[{number}]", by)) is not None
        ]
        switch = spec.get("switch")
        self.switch = by.path(switch, "switch") if switch is not None else None
        if not isinstance(switch, str):
            switch = None
        defaults = spec.get("defaults") or {}
        if not isinstance(defaults, dict):
            by.fault("defaults", "must be a mapping from fields to values")
            defaults = {}
        by.in_each = True  # a default may be of the element
        builder(defaults, "defaults", by, set(defaults))
        by.in_each = False
        self.rules: list[Rule] = []
        self.by_type: dict[str, list[Rule]] = {}
        records = by.list_(spec.get("records", []), "records")
        if not records:
            by.fault("records", "is required: a list of rules")
        if len(records) > MAX_RULES:
            by.fault("records", f"may have {MAX_RULES} rules at most")
        general: list[Rule] = []
        for number, each in enumerate(records[:MAX_RULES]):
            at = f"records[{number}]"
            if not by.has_keys(each, RULE, at):
                continue
            rule = Rule(each, defaults, switch, at, by)
            self.rules.append(rule)
            keys = _keys_of(each["when"], switch) if switch and isinstance(each.get("when"), dict) else []
            for key in keys:
                self.by_type.setdefault(key, list(general)).append(rule)
            if not keys:
                general.append(rule)
                for rules in self.by_type.values():
                    rules.append(rule)
        self.general = general

    def is_its(self, record: dict[str, Any]) -> bool:
        """Whether a record is one of this format."""
        return any(test(record, None, {}) for test in self.detect)

    def variables(self, path: str) -> dict[str, Any]:
        """What is known of a file before its first line."""
        record = {"path": path}
        found = {name: f(record, None, {}) for name, f in self.file}
        return {name: x for name, x in found.items() if x is not None}


class Compiler:
    """Gathers the faults of one document."""

    def __init__(self, variables: Iterable[str]) -> None:
        self.faults: list[str] = []
        self.zone: tzinfo = UTC
        self.in_each = False
        self._variables = {*variables, *_BUILT_IN}

    def fault(self, at: str, sentence: str) -> None:
        """Remember a fault, once."""
        fault = f"{at}: {sentence}"
        if fault not in self.faults:
            self.faults.append(fault)

    def unknown(self, key: Any, at: str, known: Iterable[Any]) -> None:
        """A key that is none."""
        names = [str(name) for name in known]
        close = difflib.get_close_matches(str(key), names, n=1)
        self.fault(at, "unknown key; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"))

    @staticmethod
    def join(at: str, key: Any) -> str:
        """The path of a key."""
        return f"{at}.{plain(str(key))}"

    def has_keys(self, spec: Any, known: dict[str, str], at: str) -> bool:
        """Whether it is a mapping; its unknown keys are faults."""
        if not isinstance(spec, dict):
            self.fault(at or "the file", f"must be a mapping, not {ascii(spec)[:60]}")
            return False
        for key in spec:
            if key not in known:
                self.unknown(key, self.join(at, key) if at else plain(str(key)), known)
        return True

    def path(self, text: Any, at: str) -> Getter:
        """A path as a function."""
        if not isinstance(text, str):
            self.fault(at, f"must be a path, not {ascii(text)[:60]}")
            return nothing
        try:
            path = paths.read(text)
        except ValueError as error:
            self.fault(at, str(error))
            return nothing
        name = path.root[1:]
        if path.root == "element" and not self.in_each:
            self.fault(at, "@ is the element of each, which this rule does not have")
        elif path.root.startswith("$") and name not in self._variables:
            close = difflib.get_close_matches(name, self._variables, n=1)
            hint = f"; did you mean ${close[0]}?" if close else ""
            self.fault(at, f"no rule remembers ${name}{hint}")
        return paths.getter(path)

    def values(self, spec: Any, at: str) -> list[tuple[str, Getter]]:
        """Named values."""
        if spec is None:
            return []
        if not isinstance(spec, dict) or not all(isinstance(name, str) and name.isidentifier() for name in spec):
            self.fault(at, "must be a mapping from names (letters, digits, _) to values")
            return []
        for name in _BUILT_IN & spec.keys() if not at.endswith(".keep") else ():
            self.fault(f"{at}.{name}", "has a meaning of its own: choose another name")
        return [(name, value(each, f"{at}.{name}", self)) for name, each in spec.items()]

    def string(self, spec: Any, at: str) -> str:
        """A text."""
        if isinstance(spec, str):
            return spec
        self.fault(at, f"must be a text, not {ascii(spec)[:60]}")
        return ""

    def list_(self, spec: Any, at: str) -> list[Any]:
        """A list."""
        if isinstance(spec, list):
            return spec
        self.fault(at, f"must be a list, not {ascii(spec)[:60]}")
        return []

    def yes(self, spec: dict[str, Any], key: str, at: str) -> bool:
        """A bool, false if it is not there."""
        found = spec.get(key, False)
        if not isinstance(found, bool):
            self.fault(f"{at}.{key}", f"must be true or false, not {ascii(found)[:60]}")
        return found is True

    def bytes_(self, spec: Any, at: str) -> int:
        """A number of bytes within the bounds of `max_line`."""
        least, most = MAX_LINES
        if not isinstance(spec, int) or isinstance(spec, bool) or not least <= spec <= most:
            self.fault(at, f"must be a whole number of bytes from {least} to {most}, not {ascii(spec)[:60]}")
            return MAX_LINE
        return spec

    def timezone(self, spec: Any) -> tzinfo:
        """A zone by its name."""
        try:
            return ZoneInfo(spec)
        except Exception:  # noqa: BLE001  (a wrong name raises several, some of them of the operating system)
            self.fault("timezone", f"must be a zone such as UTC or Europe/Berlin, not {ascii(spec)[:60]}")
            return UTC

    def regex(self, pattern: Any, at: str) -> Any:
        """A compiled expression of RE2, or None."""
        import re2  # noqa: PLC0415  (of formats alone)

        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(self.string(pattern, at), options)
        except re2.error as error:
            said = error.args[0] if error.args else error
            said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            self.fault(at, f"must be a regular expression of RE2 ({said})")
            return None


def compile_mapping(name: str, spec: Any) -> Mapping:
    """A parsed document as a Mapping; `extends` is resolved before (`files`). Raises Faulty with all faults."""
    names: set[str] = set()
    if isinstance(spec, dict):
        parts = [spec.get("file"), *(rule.get("remember") for rule in _dicts(spec.get("records")))]
        names = {str(variable) for part in parts if isinstance(part, dict) for variable in part}
    by = Compiler(names)
    if not by.has_keys(spec, FORMAT, ""):
        raise Faulty(by.faults)
    mapping = Mapping(name, spec, by)
    if by.faults:
        raise Faulty(by.faults)
    return mapping


def _dicts(spec: Any) -> list[dict[str, Any]]:
    return [each for each in spec if isinstance(each, dict)] if isinstance(spec, list) else []


def _keys_of(when: dict[str, Any], switch: str) -> list[str]:
    """The types of which a rule is, if its condition on the switch is nothing but that."""
    expected = when.get(switch)
    options = expected if isinstance(expected, list) else [expected]
    if all(isinstance(each, str) for each in options) and expected not in ("present", "absent"):
        return list(options)
    return []


# --- emit ------------------------------------------------------------------------------------------------------------


def builder(fields: dict[str, Any], at: str, by: Compiler, own: set[str]) -> Callable[..., dict[str, Any]]:
    """A function that makes the fields of a line. Faults are reported for `own` fields only: defaults have theirs."""
    constants: dict[str, Any] = {}
    single: list[tuple[str, Any, Getter]] = []
    groups: dict[str, list[tuple[str, Any, Getter]]] = {}
    for name, spec in fields.items():
        kind = field_kind(name)
        if kind is None:
            if name in own:
                by.unknown(name, by.join(at, name), FIELDS)
            continue
        where = by.join(at if name in own else "defaults", name)
        before = len(by.faults)
        f = value(spec, where, by)
        if len(by.faults) > before:
            continue
        group, _, inner = name.partition(".")
        if inner and group in fields:
            by.fault(where, f"{group} is emitted as a whole already")
        converted = convert.message if name == "error.message" else _converter(kind, by.zone)
        if isinstance(spec, dict) and "const" in spec and not inner:
            constants[group] = converted(spec["const"])
        elif inner:
            groups.setdefault(group, []).append((inner, converted, f))
        else:
            single.append((group, converted, f))
    grouped = list(groups.items())
    constants = {name: constant for name, constant in constants.items() if constant is not None}

    def filled(part: dict[str, Any], members: list[Any], r: Any, e: Any, v: dict[str, Any]) -> dict[str, Any]:
        for name, converted, f in members:
            x = f(r, e, v)
            if x is not None:
                x = converted(x)
                if x is not None:
                    part[name] = x
        return part

    def build(r: Any, e: Any, v: dict[str, Any]) -> dict[str, Any]:
        line = filled(constants.copy(), single, r, e, v)
        for group, members in grouped:
            inner = filled({}, members, r, e, v)
            if inner:
                line[group] = inner
        return line

    return build


def _converter(kind: str, zone: tzinfo) -> Callable[[Any], Any]:
    if kind == TIME:
        return convert.stamp if zone is UTC else lambda x: convert.stamp(x, zone)
    return {
        TEXT: convert.text,
        WHOLE: convert.whole,
        NUMBER: convert.number,
        BOOL: convert.yes_or_no,
        ANY: lambda x: x,
    }[kind]
