"""The config of a command: that of the file, with what the command line says over it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from agent_exporter.cli.errors import Usage
from agent_exporter.config import Config, load, parse
from agent_exporter.config.values import Duration, FilePath, listen_fault, url_fault

if TYPE_CHECKING:
    import argparse


def config_of(options: argparse.Namespace) -> Config:
    """Raises ConfigError for what is wrong in the file, Usage for what is wrong on the command line."""
    config = load(Path(options.config)) if options.config else parse("")
    if options.__dict__.get("format") is not None:
        config = replace(config, format=options.format)
    if named := config.formats():
        from agent_exporter.formats.mapping import files  # noqa: PLC0415  (few have any)

        files.check(named)
    given = {key: value for key, value in vars(options).items() if value is not None}
    if "listen" in given:
        if fault := listen_fault(given["listen"]):
            raise Usage(f"--web.listen-address: {fault}")
        config = _with(config, "server", listen=given["listen"])
    if "endpoint" in given:
        if fault := url_fault(given["endpoint"]):
            raise Usage(f"--otlp.endpoint: {fault}")
        config = _with(config, "otlp", endpoint=given["endpoint"])
    if "buffer_traces" in given:
        config = _with(config, "otlp", buffer_traces=Duration(given["buffer_traces"]))
    if "state" in given:
        try:
            config = _with(config, "state", path=FilePath(given["state"]))
        except ValueError as error:
            raise Usage(f"--state.path: {error}") from error
    return config


def asked(config: Config, agent: str | None) -> list[str]:
    """The agent that was named, or all that can be asked."""
    if agent is None:
        return config.names()
    if agent not in config.names():
        raise Usage(f"no agent {agent!a} under agents in the file of --config, or it is retired")
    if config.agent(agent).endpoint is None:
        raise Usage(f"agents.{agent}.endpoint is not set: nobody knows where to ask")
    return [agent]


def _with(config: Config, section: str, **settings: Any) -> Config:
    return replace(config, **{section: replace(getattr(config, section), **settings)})
