"""Asks the exporter of this container whether it is well; images without a shell need a command for that."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_exporter.config import Config

PATIENCE = 3.0
"""Seconds; Docker's own default is 30, and a probe that hangs is an answer."""


def check(config: Config, *, ready: bool) -> str | None:
    """A sentence about what is wrong, or None."""
    host, _, port = config.server.listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (asked, not bound)
    connection: http.client.HTTPConnection
    if config.server.tls_cert_file:
        # The question is whether it answers, not who it is: its certificate is made out to another name than this.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    try:
        connection.request("GET", "/-/ready" if ready else "/-/healthy")
        answer = connection.getresponse()
        text = answer.read(300).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"{config.server.listen} does not answer: {getattr(error, 'strerror', None) or error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{config.server.listen} answers {answer.status}: {text!a}"
