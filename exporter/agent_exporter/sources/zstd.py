"""Files packed with Zstandard, as Codex keeps its cold rollouts."""

from __future__ import annotations

import zlib
from io import RawIOBase
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from io import BufferedReader

    from _typeshed import WriteableBuffer

CHUNK = 64
"""Bytes unpacked at once. The smallest block of Zstandard has 4 bytes and holds up to 128 KiB: 2 MiB at most."""


class Unzstd(RawIOBase):
    """What a packed file holds, frame after frame. Raises EOFError for one that is cut, zlib.error for a broken one."""

    def __init__(self, packed: BufferedReader) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._in_frame = False
        self._unpacked = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a part of the buffer; 0 is the end."""
        view = memoryview(buffer)
        rest = b""
        while not self._unpacked:
            if self._frame.eof:
                rest = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._in_frame = False
            chunk = rest or self._packed.read(CHUNK)
            if not chunk:
                if self._in_frame:
                    raise EOFError("the packed file ends before its end")
                return 0
            self._in_frame = True
            try:
                self._unpacked = memoryview(self._frame.decompress(chunk))
            except zstandard.ZstdError as error:
                raise zlib.error(str(error)) from error
            rest = b""
        size = min(len(view), len(self._unpacked))
        view[:size] = self._unpacked[:size]
        self._unpacked = self._unpacked[size:]
        return size
