"""What the first failure was given and what it answered; not a word of it unless that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.explain.terminal import safe, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_exporter.action import Action

MAX_TEXT = 2_000
"""Characters of an input, an output or an error message that are told."""


def sizes(action: Action) -> Iterator[str]:
    """How much there would be to see."""
    for what, text in parts(action).items():
        shown = "not in the log" if text is None else f"{len(text.encode()):,} bytes; --content shows them"
        yield f"{what:8}{shown}"


def contents(action: Action, columns: int) -> Iterator[str]:
    """The texts, harmless and cut, in lines of so many columns at most."""
    for what, text in parts(action).items():
        shown = "not in the log" if text is None else shortened(safe(text[: 2 * MAX_TEXT]))
        for number, line in enumerate(wrap(shown, columns - 8)):
            yield f"{what if not number else '':8}{line}"


def shortened(text: str) -> str:
    """Cut at MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… (cut)"


def parts(action: Action) -> dict[str, str | None]:
    """The JSON of its input and output, and its error message where that stands apart."""
    given, came = (None if text is None else text.decode() for text in action.contents())
    texts = {"input": given, "output": came}
    if action.error is not None and action.error_message is not None:
        texts["error"] = action.error_message
    return texts
