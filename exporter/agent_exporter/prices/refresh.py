"""Writes `default.json` anew from the package genai-prices, which is kept by people who read the vendors' pages.

    make prices

Not a dependency: the exporter needs a table, not a library that brings an HTTP client. What a glob cannot say, and what
is not priced by tokens of text, is left out.
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
OTHER_MEDIA = ("audio", "image", "tts", "realtime", "live", "whisper", "transcribe", "moderation", "video", "embedding")


def main() -> None:
    """Print the file."""
    from genai_prices import data  # type: ignore[import-not-found]  # noqa: PLC0415

    now = datetime.now(UTC)
    vendors = {vendor.id: vendor for vendor in data.providers}
    exact: dict[str, Any] = {}
    globs: dict[str, Any] = {}
    for vendor in (vendors[name] for name in VENDORS):
        for model in vendor.models:
            price = _price(model.get_prices(now))
            if price is None or any(word in model.id for word in OTHER_MEDIA):
                continue
            for name in _names(model.match):
                (globs if set(name) & set("*?[") else exact).setdefault(name, price)
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
    told = {key: getattr(prices, field) for key, field in FIELDS.items()}
    if told["input"] is None or told["output"] is None:
        return None
    plain: dict[str, Any] = {
        key: _number(getattr(value, "base", value)) for key, value in told.items() if value is not None
    }
    starts = {tier.start for value in told.values() for tier in getattr(value, "tiers", ())}
    if len(starts) > 1:
        return None
    if starts:
        dear = {
            key: _number(value.tiers[0].price if hasattr(value, "tiers") else value)
            for key, value in told.items()
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
    if kind == "ClauseEquals":
        return [match.equals]
    if kind == "ClauseStartsWith":
        return [f"{match.starts_with}*"]
    if kind == "ClauseEndsWith":
        return [f"*{match.ends_with}"]
    if kind == "ClauseContains":
        return [f"*{match.contains}*"]
    if kind == "ClauseRegex" and (parts := re.fullmatch(r"\^((?:\\[.d]|\{\d\}|[\w/.@\[\]-])+)\$", match.regex)):
        digits = re.sub(r"\\d(?:\{(\d)\})?", lambda found: "[0-9]" * int(found[1] or 1), parts[1])
        return [digits.replace("\\.", ".")]
    return []


if __name__ == "__main__":
    main()
