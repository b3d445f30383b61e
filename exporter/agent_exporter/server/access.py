"""Access: requests need the token, over TLS if configured. Without a token only this machine has access."""

from __future__ import annotations

import base64
import contextlib
import hmac
import logging
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class Token:
    """The bearer token in a file, read for each request. While it is empty or missing, all are refused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _warn_if_shared("server.token_file", path)
        except OSError as error:
            log.warning("server.token_file %s: %s; no request is accepted until it exists", path, error.strerror)

    def allows(self, authorization: str, *, as_password: bool = False) -> bool:
        """Whether a header `Bearer TOKEN` has the token. Takes the same time for every wrong one.

        With `as_password` also accepts `Basic` with the token as the password of any user, which browsers can send.
        """
        scheme, _, given = authorization.partition(" ")
        if as_password and scheme.lower() == "basic":
            scheme, given = "bearer", _password(given)
        try:
            token = self._path.read_bytes().strip()
        except OSError:
            token = b""
        fits = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token)  # as tornado decodes headers
        return fits and bool(token) and scheme.lower() == "bearer"


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")[2]
    except ValueError:
        return ""


class Certificate:
    """A TLS context that follows its files: a renewed certificate serves the next connection.

    Raises OSError with a sentence if the files cannot be used at the beginning. Later the last good ones stay.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._stamp = self._look()
        try:
            self._contexts = self._load()
            _warn_if_shared("server.tls_key_file", key)
        except OSError as error:
            raise OSError(self._sentence(error)) from error

    def refresh(self) -> None:
        """Load the files again if they have changed; keep the old ones while the new ones do not fit together."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # Into new contexts: a certificate without its key would leave the old ones with neither.
            self._contexts = self._load()
            log.info("TLS certificate %s loaded again", self._certificate)
        except OSError as error:
            log.error("%s; the former ones stay in use", self._sentence(error))  # noqa: TRY400

    @property
    def asks(self) -> bool:
        """Whether clients need a certificate."""
        return self._client_ca is not None

    def context(self, *, here: bool) -> ssl.SSLContext:
        """The context for a connection. From this machine (`here`) the certificate is optional, for the probes."""
        return self._contexts[here]

    def _look(self) -> list[tuple[int, int, int]]:
        stamp = []
        for path in (self._certificate, self._key, self._client_ca):
            with contextlib.suppress(OSError):
                if path is not None:
                    status = path.stat()
                    stamp.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return stamp

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        return self._load_one(ssl.CERT_REQUIRED), self._load_one(ssl.CERT_OPTIONAL)

    def _load_one(self, mode: ssl.VerifyMode) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = mode
        context.load_cert_chain(self._certificate, self._key, password=lambda: "")  # or it would ask at the terminal
        return context

    def _sentence(self, error: OSError) -> str:
        files = f"certificate {self._certificate}, key {self._key}"
        if self._client_ca is not None:
            files += f", client CA {self._client_ca}"
        return f"TLS cannot be used ({files}): {error.strerror or error}"


def _warn_if_shared(key: str, path: Path) -> None:
    if path.stat().st_mode & 0o077:
        log.warning("%s %s can be read by others: chmod 600 it", key, path)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable only from this machine."""
    return host == "localhost" or ip_address(host).is_loopback


def names_no_other(host: str) -> bool:
    """Whether a Host header is an address or localhost, which no other site can have resolved to this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
