"""httpx over aiohttp's connections: several times as many requests a second as over httpx's own pool.

Measured by ``tests.benchmarks.sweep``. Whole bodies only, and bounded ones: a server that never stops sending can't
fill the memory.
"""

from __future__ import annotations

import asyncio
import urllib.request

import aiohttp
import httpx

__all__ = ["BODY_BYTES_MAX", "AiohttpTransport", "proxy_for"]

BODY_BYTES_MAX = 32 * 2**20
_DECODED = {b"content-encoding", b"content-length", b"transfer-encoding"}
"""Headers of what went over the wire, not of the decoded body."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests with aiohttp and speaks of faults in httpx's errors."""

    def __init__(self, *, connections: int, timeout_seconds: float) -> None:
        """Take the bounds; the session is opened by the first request, inside its event loop."""
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read the whole answer.

        Raises:
            httpx.TimeoutException: No whole answer in time.
            httpx.ConnectError: The server can't be reached.
            httpx.RemoteProtocolError: It closed the connection, broke HTTP, or sent more than 32 MiB.
            httpx.DecodingError: The body's compression is broken.
        """
        session = self._open()
        try:
            async with session.request(
                request.method,
                str(request.url),
                headers=list(request.headers.items()),
                data=request.content or None,
                allow_redirects=False,
                proxy=self._proxy(request.url),
            ) as response:
                body = await _bounded(response)
        except TimeoutError as error:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except aiohttp.ClientPayloadError as error:
            broken = isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError)
            kind = httpx.DecodingError if broken else httpx.RemoteProtocolError
            raise kind(str(error), request=request) from error
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError, ValueError) as error:
            raise httpx.RemoteProtocolError(f"{type(error).__name__}: {error}", request=request) from error
        # As bytes: a value may hold what no text does, and httpx has its own way with that.
        headers = [(k, v) for k, v in response.raw_headers if k.lower() not in _DECODED]
        return httpx.Response(response.status, headers=headers, content=body, request=request)

    async def aclose(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=self._timeout,
                # A cookie would tie a sweep to one of the servers behind a balancer; its users meet all of them.
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
            )
        return self._session

    def _proxy(self, url: httpx.URL) -> str | None:
        # Not by aiohttp's trust_env: it asks a thread for them with each request, at twice the cost of the request.
        origin = (url.scheme, url.host)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(url)
        return self._proxies[origin]


def proxy_for(url: httpx.URL) -> str | None:
    """Return the proxy that the environment names for this address (``http_proxy``, ``no_proxy``, …), if any."""
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(url.host):
        return None
    return proxies.get(url.scheme) or proxies.get("all")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    whole = bytearray()
    async for chunk in response.content.iter_any():
        whole += chunk
        if len(whole) > BODY_BYTES_MAX:
            response.close()
            raise aiohttp.ServerConnectionError(f"the answer is longer than {BODY_BYTES_MAX} bytes")
    return bytes(whole)
