"""What the detectors would have found in logs of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exporter.config import OTLP
from exporter.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.config import Config
    from exporter.detectors.finding import Finding
    from exporter.sources import Source
    from exporter.stages import Stages


def backtest(config: Config, paths: Sequence[str], progress: Callable[[Source], None]) -> tuple[Stages, list[Finding]]:
    """Read logs to their end, without sending spans. The findings are in order of their own time.

    Raises OSError for a file that is not there.
    """
    findings: list[Finding] = []
    silent = msgspec.structs.replace(config, otlp=OTLP())
    stages = replay(silent, paths, progress, findings.append)
    return stages, sorted(findings, key=lambda finding: (finding.at, finding.to_json()))
