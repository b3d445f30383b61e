"""Wrong settings raise immediately, not at the first action that uses them.

    token_ceiling=os.environ["CEILING"]         TypeError: token_ceiling must be a number, not '50'
    timeout=float("nan")                        ValueError: timeout must be a number, not nan

A text is not a number: convert environment variables first. What an agent logs about its work is treated differently: a
wrong number is left out of the line, and nothing raises (`record`).
"""

from __future__ import annotations

import math
import operator
from typing import SupportsFloat, SupportsIndex

from agentlog import record


def number(value: object, name: str, least: float = -math.inf, most: float = math.inf) -> float:
    """A number within bounds. Raises TypeError if it is not a number, ValueError if it is out of bounds."""
    kind = type(value)
    if kind is int or kind is float:
        found: float = value  # type: ignore[assignment]
    elif isinstance(value, SupportsIndex) and not isinstance(value, bool):
        found = operator.index(value)
    elif isinstance(value, SupportsFloat) and not isinstance(value, bool):
        found = float(value)  # a Decimal, or a number of numpy's
    else:
        raise TypeError(f"{name} must be a number, not {record.described(value)}")
    if math.isnan(found):
        raise ValueError(f"{name} must be a number, not nan")
    if found < least:
        raise ValueError(f"{name} must be {least:g} or more, not {found}")
    if found > most:
        raise ValueError(f"{name} must be {most:g} or less, not {found}")
    return found


def given(value: object, name: str, least: float = -math.inf) -> float | None:
    """The same, or None."""
    return None if value is None else number(value, name, least)


def flag(value: object, name: str) -> bool:
    """True or False: "false" would be true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {record.described(value)}")
    return value
