"""Settings: one tree, parsed once, from a YAML file and from ``ALIGND_`` variables (nested with ``__``).

Each fault names its key, what is wrong and what the key is.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from monitor.api_settings import ApiSettings
from monitor.audit_settings import AuditSettings
from monitor.config_file import read_config
from monitor.daemon_settings import (
    ListenSettings,
    RetentionSettings,
    SigningSettings,
    StoreSettings,
    TracingSettings,
    TranscriptSettings,
)
from monitor.errors import ConfigError
from monitor.hook_settings import HooksSettings
from monitor.notify_settings import NotificationSettings
from monitor.policy import Mode
from monitor.rail_settings import FleetSettings
from monitor.secret import Secret, anchored, may_hold_secret
from monitor.section import masked_url
from monitor.target_settings import GateSettings, PluginSettings, SuiteSettings, TargetSettings
from probes.suites.sources import names_a_file
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep

__all__ = ["Settings", "digest_of", "load_settings"]

_RECIPE_FILES = frozenset({"pool", "pool_key", "pool_state", "task_prompts"})
"""Options of recipes that name files."""


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="ALIGND_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    targets: tuple[TargetSettings, ...] = Field(min_length=1)
    """Deployments to watch."""
    key: Secret = Field(min_length=8)
    """Secret of this site: decides which prompts are sealed for confirmation. Keep it; changing it unseals them. Like
    each secret here it is written out, or kept in a variable ({env: NAME}) or in a file ({file: PATH}); a relative path
    counts from the configuration file."""
    store: StoreSettings = StoreSettings()
    """Where the monitor remembers."""
    releases: Path = Path("releases")
    """Release store, the same folder as the server's; a relative path counts from the configuration file."""
    signing: SigningSettings = SigningSettings()
    """Signatures of releases."""
    retention: RetentionSettings = RetentionSettings()
    """Which releases stay."""
    fleet: FleetSettings = FleetSettings()
    """Rails over all targets."""
    listen: ListenSettings = ListenSettings()
    """Where metrics and status are served."""
    api: ApiSettings = ApiSettings()
    """Who may call the HTTP API."""
    hooks: HooksSettings = HooksSettings()
    """What other programs may ask by web hooks."""
    transcripts: TranscriptSettings = TranscriptSettings()
    """What is kept of prompts and completions."""
    notifications: tuple[NotificationSettings, ...] = Field(default=(), max_length=20)
    """Channels that people are told by; none by default."""
    tracing: TracingSettings | None = None
    """Where traces go; none by default."""
    audits: AuditSettings = AuditSettings()
    """Audits of what is served."""

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for what, names in (
            ("targets", [t.name for t in self.targets]), ("notifications", [n.name for n in self.notifications])
        ):  # fmt: skip
            if doubled := sorted({n for n in names if names.count(n) > 1}):
                raise ValueError(f"two {what} are named {doubled[0]!r}; names must differ")
        self.hooks.check_targets(frozenset(t.name for t in self.targets))
        return self

    @model_validator(mode="after")
    def _tells_of_targets_that_are_there(self) -> Self:
        known = {t.name for t in self.targets}
        for channel in self.notifications:
            if strange := sorted(set(channel.targets) - known):
                raise ValueError(
                    f"notifications: {channel.name} names target {strange[0]!r}; there are: {', '.join(sorted(known))}"
                )
        return self

    @model_validator(mode="after")
    def _audits_what_is_there(self) -> Self:
        names = {t.name for t in self.targets}
        for plan in self.audits.plans:
            if unknown := [t for t in plan.targets if t not in names]:
                known = ", ".join(sorted(names))
                raise ValueError(f"audits.plans: {plan.name} names target {unknown[0]!r}; there are: {known}")
        return self

    @model_validator(mode="after")
    def _can_serve_its_repairs(self) -> Self:
        if self.signing.required and self.signing.private_key is None:
            for target in self.targets:
                if target.mode is not Mode.OBSERVE:
                    raise ValueError(
                        f"signing.required without signing.private_key: repairs of {target.name} could not be served; "
                        "give the key, or set mode: observe"
                    )
        return self

    def transcript_secrets(self) -> tuple[bytes, ...]:
        """Return the secrets of transcripts, the one to write with first: the site's key where they have none."""
        own = (self.transcripts.key,) if self.transcripts.key else ()
        return tuple(s.get_secret_value().encode() for s in (*own, self.key, *self.transcripts.old_keys))

    def stretch_keys(self) -> None:
        """Derive the key of transcripts now and not with the first sweep, where they are kept."""
        if self.transcripts.keep is not Keep.NOTHING:
            Keyring(self.transcript_secrets()).stretch()


def load_settings(path: Path) -> Settings:
    """Read a configuration file; variables of the environment win over it.

    Raises:
        ConfigError: It is missing, no YAML, gives a key twice, or says what can't be; each fault names its key.
    """
    data = read_config(path)

    class _FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del settings_cls, dotenv_settings, file_secret_settings
            return env_settings, init_settings

    try:
        settings = _FromFile(**anchored(data, path.resolve().parent))
    except ValidationError as error:
        faults = (f"{path}: {_fault(e['loc'], e['msg'], e['input'])}" for e in _causes(error))
        raise ConfigError("\n".join(faults)) from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; a variable that stands for a part must hold JSON") from error
    return _anchored(settings, path.resolve().parent)


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """Leave out that there are too few targets where one of them is at fault."""
    found = error.errors()
    inside = any(e["loc"][:1] == ("targets",) and len(e["loc"]) > 1 for e in found)
    return [e for e in found if not (inside and e["loc"] == ("targets",) and e["type"] == "too_short")]


def digest_of(settings: Settings) -> str:
    """Return the SHA-256 of the settings, secrets masked: it tells whether two daemons were told the same."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Make relative paths count from the configuration file."""
    url = settings.store.url
    database = url.removeprefix("sqlite:///")
    targets = tuple(
        t.model_copy(
            update={
                "checkpoint": folder / t.checkpoint if t.checkpoint else None,
                "last_known_good": str(folder / t.last_known_good)
                if (folder / t.last_known_good).is_dir() and t.last_known_good
                else t.last_known_good,
                "suites": _anchored_suites(t.suites, folder),
                "gates": _anchored_gates(t.gates, folder),
                "recipes": tuple(_anchored_recipe(r, folder) for r in t.recipes),
                "judge_calibration": folder / t.judge_calibration if t.judge_calibration else None,
                "judge_check": t.judge_check.model_copy(update={"labelled": folder / t.judge_check.labelled})
                if t.judge_check
                else None,
            }
        )
        for t in settings.targets
    )
    store = settings.store if database == url else StoreSettings(url=f"sqlite:///{folder / database}")
    transcripts = settings.transcripts.model_copy(update={"folder": folder / settings.transcripts.folder})
    keys = {n: folder / k for n in ("public_key", "private_key") if (k := getattr(settings.signing, n))}
    placed = {
        "store": store, "releases": folder / settings.releases, "transcripts": transcripts,
        "signing": settings.signing.model_copy(update=keys), "listen": settings.listen.placed(folder),
        "tracing": settings.tracing and settings.tracing.placed(folder),
        "notifications": tuple(n.placed(folder) for n in settings.notifications),
        "audits": settings.audits.placed(folder),
    }  # fmt: skip
    return settings.model_copy(update={"targets": targets, **placed})


def _anchored_suites(suites: SuiteSettings, folder: Path) -> SuiteSettings:
    harm, *benign = (str(folder / s) if names_a_file(s) else s for s in (suites.harm, *suites.benign))
    task = _anchored_path(suites.task, folder)
    return suites.model_copy(update={"harm": harm, "benign": tuple(benign), "task": task})


def _anchored_gates(gates: GateSettings, folder: Path) -> GateSettings:
    suites = tuple(str(folder / s) if names_a_file(s) else s for s in gates.suites)
    triggers = folder / gates.triggers_file if gates.triggers_file else None
    return gates.model_copy(update={"suites": suites, "triggers_file": triggers})


def _anchored_recipe(recipe: PluginSettings, folder: Path) -> PluginSettings:
    """Make a recipe's files count from the configuration file."""
    files = {n: str(folder / str(v)) for n, v in recipe.options.items() if n in _RECIPE_FILES and v}
    return recipe.model_copy(update={"options": {**recipe.options, **files}})


def _anchored_path(plugin: PluginSettings | None, folder: Path) -> PluginSettings | None:
    """Make an option named ``path`` count from the configuration file."""
    if plugin is None or not isinstance(path := plugin.options.get("path"), str):
        return plugin
    return plugin.model_copy(update={"options": {**plugin.options, "path": str(folder / path)}})


def _fault(loc: tuple[int | str, ...], message: str, given: object) -> str:
    """Say which key is wrong, how, and what the key is; what was given only where it can't be a secret."""
    parts = [p for p in loc if p != "function-before[_named(), PluginSettings]"]
    key = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, parts))) or "settings"
    said = message.removeprefix("Value error, ")
    said = "unknown key" if message == "Extra inputs are not permitted" else said[:1].lower() + said[1:]
    if (field := _field_at(parts)) is None:
        return f"{key}: {said}"
    plain = masked_url(given) if isinstance(given, str) else given
    told = isinstance(plain, str | int | float) and field.repr and not may_hold_secret(field.annotation)
    about = " ".join((field.description or "").split())
    return f"{key}: {said}" + (f" (given: {plain!r})" if told else "") + (f" - {about}" if about else "")


def _field_at(parts: list[int | str]) -> FieldInfo | None:
    """Return the field that a fault is in, if it is in one."""
    model, field = Settings, None
    for part in parts:
        if isinstance(part, int):
            continue
        known = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        if (field := known.get(part)) is None:
            return None
        model = _inner(field.annotation)
    return field


def _inner(annotation: Any) -> Any:  # noqa: ANN401  (annotations have no type)
    """Return the model inside ``tuple[Model, ...]`` or ``Model | None``."""
    while arguments := get_args(annotation):
        annotation = arguments[0]
    return annotation
