"""Posts a body to a web hook: over checked addresses, without following a redirect, within a time."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from socket import AddressFamily
from typing import Annotated

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from yarl import URL

from monitor.errors import NotificationRefused, NotSent
from monitor.notifiers.trust import trusting
from monitor.secret import Secret
from probes.transport import proxy_for

__all__ = ["Answer", "PostOptions", "Poster", "asked_delay", "forbidden"]

_ANSWER_BYTES = 1024
_HEADER_BYTES = 8190
_OF_THIS_ONE = frozenset({400, 413, 415, 422})
"""Statuses that speak of this message; all others may pass: a receiver is being deployed, a key is being changed."""
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""Where clouds tell a machine its own credentials, beside the link-local addresses."""
_REFUSED = "is a link-local address or a cloud's metadata service; set allow_link_local if it is meant"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _web_address(url: SecretStr) -> SecretStr:
    try:
        parsed = URL(url.get_secret_value())
        fine = parsed.scheme in {"http", "https"} and bool(parsed.host)
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be an address that begins with http:// or https://")
    return url


class PostOptions(BaseModel):
    """What every web hook has."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: Annotated[Secret, AfterValidator(_web_address)]
    """Address to post to; whoever has it can post, so that it is kept as a secret."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    """Longest wait for the whole answer, in seconds; receivers should take it and work later."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust in place of the system's; certificates are always verified."""
    allow_link_local: bool = False
    """Also post to link-local addresses and to those where clouds tell a machine its credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the other side said, its first kilobyte."""

    content_type: str
    text: str


class Poster:
    """Posts to one address."""

    def __init__(self, options: PostOptions) -> None:
        """Take the address; a connection is made by each post.

        Raises:
            PluginError: The file of authorities can't be used.
        """
        self._options = options
        self._url = URL(options.url.get_secret_value())
        self._context = trusting(options.ca_file) if options.ca_file else None

    async def post(self, body: bytes, headers: Mapping[str, str], *, read: bool = False) -> Answer:
        """Post once.

        Args:
            read: Whether the answer's body matters too; else its status alone is waited for.

        Raises:
            NotSent: There was no answer, or not the one of a receiver that has it.
            NotificationRefused: The receiver will not take this body.
        """
        allowed = self._options.allow_link_local
        if not allowed and (why := _literal(self._url.host or "")):
            raise NotSent(f"{self._where} {why}")
        connector = aiohttp.TCPConnector(
            resolver=_CheckedResolver(allowed=allowed), force_close=True, ssl=self._context or True
        )
        try:
            async with aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=self._options.timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(), max_field_size=_HEADER_BYTES, max_line_size=_HEADER_BYTES,
            ) as session, session.post(
                self._url, data=body, headers={"user-agent": "alignd", **headers}, allow_redirects=False,
                proxy=proxy_for(httpx.URL(str(self._url))),
            ) as response:  # fmt: skip
                self._require_taken(response)
                text = await _beginning(response) if read else ""
                return Answer(content_type=response.content_type, text=text)
        except TimeoutError as error:
            raise NotSent(f"{self._where}: no answer within {self._options.timeout_seconds:g} s") from error
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError, ValueError) as error:
            raise NotSent(f"{self._where}: {_told(error)}") from error

    @property
    def _where(self) -> str:
        """The host alone: the rest of an address may be a secret."""
        return str(self._url.host)

    def _require_taken(self, response: aiohttp.ClientResponse) -> None:
        if 200 <= response.status < 300:
            return
        said = f"{self._where} answered {response.status}"
        if 300 <= response.status < 400:
            raise NotSent(f"{said}: redirects are not followed; give the address that it leads to")
        if response.status in _OF_THIS_ONE:
            raise NotificationRefused(said)
        raise NotSent(said, delay_seconds=asked_delay(response.headers.get("retry-after", ""), datetime.now(UTC)))


def asked_delay(header: str, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds or a date; nothing where it is neither."""
    if header.strip().isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())


def forbidden(address: str) -> bool:
    """Tell whether an address is link-local or one of a cloud's metadata service, in whatever dress."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            found = found.ipv4_mapped
        elif found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
    return found.is_link_local or found in _METADATA


class _CheckedResolver(AbstractResolver):
    """Resolves names, and refuses the addresses that a hook has no business with: those are what is connected to."""

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not self._allowed and any(forbidden(r["host"]) for r in found):
            raise OSError(_REFUSED)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _literal(host: str) -> str:
    """Say what is wrong with a host that is an address already: aiohttp asks no resolver about it."""
    if ":" not in host and not host.replace(".", "").isdigit():
        return ""
    try:
        return _REFUSED if forbidden(host) else ""
    except ValueError:
        return "is no plain address; write it as four numbers with dots between them"


async def _beginning(response: aiohttp.ClientResponse) -> str:
    read = bytearray()
    while len(read) < _ANSWER_BYTES and (chunk := await response.content.read(_ANSWER_BYTES - len(read))):
        read += chunk
    return read.decode(errors="replace")


def _told(error: Exception) -> str:
    """Name a fault of the wire without the address, of which a part may be a secret."""
    cause = getattr(error, "os_error", None)
    if cause is None or not (why := cause.strerror or str(cause)):
        return type(error).__name__
    return f"{type(error).__name__} ({why})"
