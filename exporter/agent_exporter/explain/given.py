"""Input and output of the first failure, shown only with `--content`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.explain.terminal import safe, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_exporter.action import Action

MAX_TEXT = 2_000
"""Characters shown of an input, an output or an error message."""


def sizes(action: Action) -> Iterator[str]:
    """Only the sizes of the texts."""
    for what, text in parts(action).items():
        shown = "not in the log" if text is None else f"{len(text.encode()):,} bytes; --content shows them"
        yield f"{what:8}{shown}"


def contents(action: Action, columns: int) -> Iterator[str]:
    """The texts, made harmless and cut, in lines of at most so many columns."""
    for what, text in parts(action).items():
        shown = "not in the log" if text is None else shortened(safe(text[: 2 * MAX_TEXT]))
        for number, line in enumerate(wrap(shown, columns - 8)):
            yield f"{what if not number else '':8}{line}"


def shortened(text: str) -> str:
    """Cut at MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… (cut)"


def parts(action: Action) -> dict[str, str | None]:
    """The JSON of its input and output, and its error message if that is a field of its own."""
    given, came = (None if text is None else text.decode() for text in action.contents())
    texts = {"input": given, "output": came}
    if action.error is not None and action.error_message is not None:
        texts["error"] = action.error_message
    return texts
