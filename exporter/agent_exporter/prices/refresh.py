"""Writes `default.json` anew from the package genai-prices, which is kept by people who read the vendors' pages.

    make prices

Not a dependency: the exporter needs a table, not a library that brings an HTTP client. What is not priced by tokens of
text has null, so that the glob of a family does not price it; what a glob cannot say is left out.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

VENDORS = ("anthropic", "openai", "google", "mistral", "deepseek", "x-ai", "cohere")
"""In this order: a model of one that another sells too has the price of the former."""
FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}
OTHER_MEDIA = ("audio", "image", "tts", "realtime", "live", "whisper", "transcribe", "moderation", "video")
NO_SPEECH = re.compile(r"\^\(\?!\.\*-\[tT\]\[tT\]\[sS\]\(\?:\$\|-\)\)")
"""A clause of genai-prices: any name but those of models that speak."""


def main() -> None:
    """Print the file."""
    from genai_prices import data  # type: ignore[import-not-found]  # noqa: PLC0415

    now = datetime.now(UTC)
    vendors = {vendor.id: vendor for vendor in data.providers}
    exact: dict[str, Any] = {}
    globs: dict[str, Any] = {}
    for vendor in (vendors[name] for name in VENDORS):
        others: dict[str, Any] = {}
        for model in vendor.models:
            price = None if any(word in model.id for word in OTHER_MEDIA) else _price(model.get_prices(now))
            for name in _names(model.match):
                (globs if set(name) & set("*?[") else exact).setdefault(name, price)
            for name in _excluded(model.match):
                globs.setdefault(name, None)
            # The name of a family, `codestral` for `codestral-latest`, unless it is another model's.
            families = {name.removesuffix("-latest") for name in _names(model.match)}
            for name in sorted({model.id, *(name for name in families if "-" in name)}):
                if not set(name) & set("*?[:") and (vendor.find_model(name) or model) is model:
                    others.setdefault(name, price)
        for name, price in others.items():
            exact.setdefault(name, price)
    # The longest first: the first one that fits wins, and `gpt-4o-mini*` is meant before `gpt-4o*`.
    models = exact | dict(sorted(globs.items(), key=lambda item: (-len(item[0]), item[0])))
    about = {
        "note": "USD per million tokens. `make prices` writes this file; your own prices belong into the config.",
        "date": f"{now:%Y-%m-%d}",
        "source": f"genai-prices {version('genai-prices')}: {', '.join(VENDORS)}",
    }
    heads = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in about.items()]
    rows = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(price)}" for name, price in models.items())
    sys.stdout.write("{" + ",\n".join(heads) + f',\n"models": {{\n  {rows}\n}}}}\n')


def _price(prices: Any) -> dict[str, Any] | None:
    """Of a model's prices, those by tokens of text; None if it has none. Embeddings have no output."""
    listed = {key: getattr(prices, field) for key, field in FIELDS.items()}
    if listed["input"] is None:
        return None
    if listed["output"] is None:
        listed["output"] = 0
    plain: dict[str, Any] = {
        key: _number(getattr(value, "base", value)) for key, value in listed.items() if value is not None
    }
    starts = {tier.start for value in listed.values() for tier in getattr(value, "tiers", ())}
    if len(starts) > 1:
        return None
    if starts:
        dear = {
            key: _number(value.tiers[0].price if hasattr(value, "tiers") else value)
            for key, value in listed.items()
            if value is not None
        }
        plain["long_prompt"] = {"above": starts.pop(), **dear}
    return plain


def _number(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def _names(match: Any) -> list[str]:
    """The globs that a clause stands for."""
    kind = type(match).__name__
    if kind == "ClauseOr":
        return [name for clause in match.or_ for name in _names(clause)]
    if kind == "ClauseAnd":  # of a name and what is excluded from it
        named = [names for clause in match.and_ if (names := _names(clause))]
        others = [clause for clause in match.and_ if not _names(clause)]
        return named[0] if len(named) == 1 and all(map(_is_no_speech, others)) else []
    if kind == "ClauseEquals":
        return [match.equals]
    if kind == "ClauseStartsWith":
        return [f"{match.starts_with}*"]
    if kind == "ClauseEndsWith":
        return [f"*{match.ends_with}"]
    if kind == "ClauseContains":
        return [f"*{match.contains}*"]
    if kind == "ClauseRegex" and (parts := re.fullmatch(r"\^((?:\\[.d]|\{\d\}|[\w/.@\[\]-])+)(\$?)", match.regex)):
        digits = re.sub(r"\\d(?:\{(\d)\})?", lambda found: "[0-9]" * int(found[1] or 1), parts[1])
        return [digits.replace("\\.", ".") + ("" if parts[2] else "*")]
    return []


def _is_no_speech(match: Any) -> bool:
    return type(match).__name__ == "ClauseRegex" and NO_SPEECH.fullmatch(match.regex) is not None


def _excluded(match: Any) -> list[str]:
    """Globs of the models that speak, which a clause leaves out of its family."""
    kind = type(match).__name__
    if kind == "ClauseOr":
        return [name for clause in match.or_ for name in _excluded(clause)]
    if kind == "ClauseAnd" and any(map(_is_no_speech, match.and_)):
        return [f"{name}-tts{end}" for name in _names(match) for end in ("", "-*")]
    return []


if __name__ == "__main__":
    main()
