"""The HTTP requests that this makes: to agents, to what stops them, and to a collector.

tornado's client, because it bounds a whole exchange by one deadline and a whole answer by one size; a client with
timeouts per read, as http.client or urllib3 have them, can be held for hours by one byte a second. It uses no proxy of
the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEADERS = 64 << 10
"""Bytes of the headers of an answer."""


def client(most_body: int) -> SimpleAsyncHTTPClient:
    """A client of its own, for answers of `most_body` bytes; close it. It keeps no connections."""
    return SimpleAsyncHTTPClient(force_instance=True, max_body_size=most_body, max_header_size=MAX_HEADERS)


def request(url: str, headers: Mapping[str, str], body: bytes | None, within: float, **more: Any) -> HTTPRequest:
    """A POST of a body, or a GET if that is None: the whole exchange `within` so many seconds.

    It goes only to the address that the config names: no redirect is followed. An answer is not decompressed, as a
    kilobyte can become a gigabyte. `more` are further arguments of HTTPRequest.
    """
    return HTTPRequest(
        url,
        method="GET" if body is None else "POST",
        headers={"User-Agent": "agent-exporter", **headers},
        body=body,
        connect_timeout=within,
        request_timeout=within,
        follow_redirects=False,
        decompress_response=False,
        **more,
    )
