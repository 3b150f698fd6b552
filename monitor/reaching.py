"""How a target's servers are reached: what asks them, what changes what they serve, and what signs their releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from deploy.checkpoint import Release
from deploy.deployer import Deployer
from deploy.offers import quarantining
from deploy.signed import SignedDeployer
from deploy.signing import sign_release
from monitor.daemon_settings import SigningSettings
from monitor.errors import ConfigError
from monitor.pausing import pause_in_force
from monitor.plugins import make_plugin
from monitor.policy import Containment
from monitor.site import no_signature
from monitor.store import Store
from monitor.target_settings import TargetSettings
from probes.pace import Pace, PacedTarget
from probes.target import Target
from probes.window import Rules

__all__ = ["deployer_of", "pace_of", "signer_of", "target_at"]

_BY_MODEL = "vllm-adapter"
"""The deployer whose servers answer with a release's id as the model's name."""


def target_at(target: TargetSettings, endpoint: str, model: str = "") -> Target:
    """Make the target that asks an endpoint: the public one, or a staged release's by its own model name."""
    by_model = target.deployer.plugin == _BY_MODEL and target.target.plugin == "openai"
    options: dict[str, Any] = {
        "name": target.name,
        "endpoint": endpoint,
        "model": model or target.model,
        "api_key": target.api_key,
        "timeout_seconds": target.sampling.timeout_seconds,
        "connections": target.sampling.concurrency,
        **({"release_in_model": True} if by_model else {}),
        **target.target.options,
    }
    made: Target = make_plugin("alignd.targets", target.target.plugin, options, where=f"targets.{target.name}.target")
    return made


def deployer_of(target: TargetSettings, signing: SigningSettings) -> Deployer:
    """Make the target's deployer, which checks signatures where they are required.

    Raises:
        PluginError: It is missing or refuses its options.
        ConfigError: Containment asks for what it can't do.
    """
    options = dict(target.deployer.options)
    if target.deployer.plugin == "external":
        options.setdefault("endpoint", target.endpoint)
    if target.deployer.plugin == _BY_MODEL:
        options.setdefault("api_key", target.api_key)
    made: Deployer = make_plugin(
        "alignd.deployers", target.deployer.plugin, options, where=f"targets.{target.name}.deployer"
    )
    if target.containment is Containment.QUARANTINE and quarantining(made) is None:
        raise ConfigError(
            f"targets.{target.name}.containment: quarantine: deployer {target.deployer.plugin} can't keep users from a "
            "target; set roll_back or hold, or a deployer that can: vllm-process"
        )
    return SignedDeployer(made, signing.public_key) if signing.required and signing.public_key else made


def signer_of(signing: SigningSettings) -> Callable[[Release], None]:
    """Make what signs a release that alignd itself has made or imported; it does nothing where there is no key."""
    if signing.private_key is None:
        return no_signature
    password = signing.password.get_secret_value() if signing.password else None
    return partial(sign_release, private_key=signing.private_key, password=password)


def pace_of(target: TargetSettings, public: Target, store: Store | None, clock: Callable[[], datetime]) -> Target:
    """Let the public endpoint's probes wait for their turn."""
    load = target.load
    rules = Rules(
        concurrency=target.sampling.concurrency, kv_cache_max=load.kv_cache_max, users_share=load.users_share,
        yields=load.yields, requests_per_minute=load.requests_per_minute, tokens_per_day=load.tokens_per_day,
    )  # fmt: skip

    if store is None:
        return PacedTarget(public, Pace(rules))

    def paused() -> bool:
        return pause_in_force(store, target.name, clock()) is not None

    pace = Pace(rules, ledger=_StoreLedger(store, target.name, clock), paused=paused)
    return PacedTarget(public, pace)


@dataclass(frozen=True, slots=True)
class _StoreLedger:
    """The store's book of spending, seen from one target."""

    store: Store
    target: str
    clock: Callable[[], datetime]

    def spent(self) -> int:
        return self.store.spent(self.target, self.clock().date())

    def spend(self, tokens: int) -> None:
        self.store.spend(self.target, self.clock().date(), tokens)
