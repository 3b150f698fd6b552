"""Settings of the daemon itself: where it remembers, listens, signs, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from monitor.secret import Secret
from monitor.section import Section, masked_url
from probes.transcripts.record import Keep

__all__ = [
    "ListenSettings", "RetentionSettings", "SigningSettings", "StoreSettings", "TracingSettings", "TranscriptSettings",
]  # fmt: skip


class StoreSettings(Section):
    """Where the monitor remembers."""

    url: str = Field(default="sqlite:///alignd.db", pattern=r"^(sqlite:///|postgresql(\+psycopg)?://).+", repr=False)
    """SQLAlchemy URL: sqlite:///PATH, where a relative path counts from the configuration file, or
    postgresql+psycopg://USER@HOST/DATABASE, which needs the extra postgres; see docs/howto/store.md."""

    @field_validator("url")
    @classmethod
    def _lasts(cls, url: str) -> str:
        if url == "sqlite:///:memory:":
            raise ValueError("give a file, sqlite:///PATH; what is in memory alone is lost with the daemon")
        return url

    @field_serializer("url", when_used="json")
    def _masked(self, url: str) -> str:
        return masked_url(url)


class ListenSettings(Section):
    """Where metrics and status are served."""

    host: str = "127.0.0.1"
    """Address. On any but a loopback one the API asks for a token, see api.tokens."""
    port: int = Field(default=9464, ge=1, le=65535)
    """Port."""
    tls_certificate: Path | None = None
    """PEM file of the certificate with its chain, to speak TLS; a relative path counts from the configuration file.
    Without it the API belongs on loopback, or behind a proxy that speaks TLS."""
    tls_key: Path | None = None
    """PEM file of its key, without a password; none: it stands in the same file."""
    public_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Address under which people reach this daemon, for links in notifications; empty for no links."""

    @model_validator(mode="after")
    def _key_has_its_certificate(self) -> Self:
        if self.tls_key and not self.tls_certificate:
            raise ValueError("tls_key without tls_certificate; give the certificate's PEM file, or leave both out")
        return self

    def placed(self, folder: Path) -> ListenSettings:
        """Make relative paths count from a folder."""
        files = {n: folder / f for n in ("tls_certificate", "tls_key") if (f := getattr(self, n))}
        return self.model_copy(update=files)


class TracingSettings(Section):
    """Where traces of sweeps and incidents go, see docs/howto/traces.md; needs the extra trace."""

    endpoint: str = Field(pattern=r"^https?://\S+$")
    """Address of an OTLP/HTTP collector, with its path: mostly http://HOST:4318/v1/traces."""
    headers: dict[str, Secret] = Field(default_factory=dict)
    """Headers of each request, e.g. authorization; written out, or {env: NAME}, or {file: PATH}."""
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of routine sweeps that are traced. Incidents always are: there are few, and each matters."""
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """Longest wait for the collector, in seconds, by a thread of its own; what it does not take is left out."""
    queue: int = Field(default=2048, ge=64, le=65536)
    """Spans that wait for the collector at most; more are left out, so that memory stays bounded."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust in place of the system's; a relative path counts from the configuration
    file."""

    def placed(self, folder: Path) -> TracingSettings:
        """Make paths count from a folder."""
        return self.model_copy(update={"ca_file": folder / self.ca_file}) if self.ca_file else self


class SigningSettings(Section):
    """Signatures of releases, see docs/howto/releases.md; needs the extra sign."""

    public_key: Path | None = None
    """PEM file of the elliptic curve key that releases must be signed with; a relative path counts from the
    configuration file."""
    private_key: Path | None = None
    """PEM file of its other half, to sign what alignd itself makes and imports. Without it a person signs with `alignd
    releases sign`."""
    password: Secret | None = None
    """Of the private key, where it has one."""
    required: bool = False
    """Bring up and promote only what is signed. Give the server --public-key too: it is the last to look."""

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        if self.required and self.public_key is None:
            raise ValueError("required: true needs public_key, the key that releases must be signed with")
        return self


class RetentionSettings(Section):
    """What `alignd releases gc` leaves in the release store, and whether the daemon does the same by itself."""

    keep: int = Field(default=5, ge=2)
    """Newest releases that stay, beside all that is served, marked good last, gone back to or worked on."""
    sweep_hours: float | None = Field(default=None, ge=1, le=8760)
    """Hours between the daemon's own sweeps, e.g. 24; none: it never removes a release, for nobody can bring one back
    that was imported and exists nowhere else. Never where a daemon with other settings uses the same store."""


class TranscriptSettings(Section):
    """What is kept of prompts and completions, where and how long. Texts never get into logs, metrics or the API."""

    keep: Keep = Keep.HASHES
    """nothing; hashes: keyed ones, enough to tell whether a text was the one; encrypted: the texts too, sealed with
    key. Texts of a drifted model can be harmful, so that keeping them is a choice."""
    folder: Path = Path("transcripts")
    """Where, one file a day; a relative path counts from the configuration file."""
    key: Annotated[Secret, Field(min_length=16)] | None = None
    """Secret that seals them, at least 16 characters; `alignd transcripts new-key` makes one. Without it hashes are
    made with the site's key."""
    old_keys: tuple[Secret, ...] = ()
    """Earlier keys, to read what was sealed with them."""
    days: int = Field(default=30, ge=1, le=3650)
    """Days that a transcript is kept; its day's file is removed within a day after. A month outlasts most incidents."""

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        if self.keep is Keep.ENCRYPTED and self.key is None:
            raise ValueError("keep: encrypted needs a key; `alignd transcripts new-key` makes one, or set keep: hashes")
        return self
