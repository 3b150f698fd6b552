"""Just enough HTTP/1.1 for servers that must cost a test nothing: requests with a content length, in a row."""

from __future__ import annotations

import asyncio

__all__ = ["BareHttp"]


class BareHttp(asyncio.Protocol):
    """One connection; ``reply`` says what becomes of each request."""

    def __init__(self) -> None:
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.out = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._read) < end + 4 + length:
                return
            body, self._read = self._read[end + 4 : end + 4 + length], self._read[end + 4 + length :]
            self.reply(head, body)

    def reply(self, head: bytes, body: bytes) -> None:
        """Answer a request, now or later: its head in small letters, and its body."""
        raise NotImplementedError

    def refuse(self) -> None:
        """Answer that there is no such thing."""
        self.out.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
