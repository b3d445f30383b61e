"""The collector that takes the spans: its address, headers and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agent_exporter.config.values import headers_in
from agent_exporter.text import without_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_exporter.config import Config


class Target(NamedTuple):
    """Where spans go."""

    url: str
    headers: Mapping[str, str] = {}
    ca_file: str | None = None
    compress: bool = True

    @property
    def shown(self) -> str:
        """The URL without user and password, for the log."""
        return without_credentials(self.url)


def target(config: Config) -> Target:
    """The collector of the config."""
    otlp = config.otlp
    assert otlp.endpoint is not None
    url = otlp.endpoint.rstrip("/")
    if urlsplit(url).path in {"", "/"}:  # a base address, as OTEL_EXPORTER_OTLP_ENDPOINT has it
        url += "/v1/traces"
    headers = headers_in(Path(otlp.headers_file)) if otlp.headers_file is not None else {}
    return Target(url, headers, otlp.ca_file, compress=otlp.compression == "gzip")
