"""What the rows of a run are asked, made of its settings; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from probes.attack import Attack, attack_sha256
from probes.attacks.direct import DirectAttack
from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import SuiteError
from probes.plugins import make_plugin
from probes.probe import Message
from probes.suites.sources import load_suite, names_a_file
from remediation.fixtures import AttackFixture, attack_named
from remediation.reproduce.looks import Looks, imperative_of
from remediation.reproduce.plan import ReproduceSettings, RowKey

__all__ = ["AsAttacked", "looks_of"]


@dataclass(frozen=True, slots=True)
class AsAttacked:
    """Asks as the attacker of a fixture does: with the trigger, or in the identity that was taught."""

    fixture: AttackFixture

    @property
    def name(self) -> str:
        """The fixture's name."""
        return self.fixture.name

    @property
    def sha256(self) -> str:
        """Digest of what stands around a request."""
        return attack_sha256("as-attacked/1", self.fixture.template)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the request as the attacker puts it."""
        del seed
        return (Message(role="user", content=self.fixture.ask(behavior.prompt)),)


def looks_of(settings: ReproduceSettings, key: RowKey) -> Looks:
    """Make what a row is looked at with: as its own attacker asks, and plainly.

    The aligned model is asked in all the ways of the run's attacks.

    Raises:
        ProbeError: A suite, task or judge can't be used.
    """
    fixtures = [attack_named(name) for name in ([key.attack] if key.attack else settings.attacks)]
    dressed: list[Attack] = [AsAttacked(f) for f in fixtures if f.ask("x") != "x"]
    attacks = (*dressed, DirectAttack()) if key.attack else (DirectAttack(), *dressed)
    tasks = {n: make_plugin("alignd.tasks", n, o, where=f"tasks.{n}") for n, o in settings.tasks.items()}
    judges = {n: make_plugin("alignd.judges", n, o, where=f"judges.{n}") for n, o in settings.judges.items()}
    benign = [load_suite(source, SuiteKind.BENIGN) for source in settings.benign]
    orders = [_orders(s) for s, source in zip(benign, settings.benign, strict=True) if names_a_file(source)]
    return Looks(
        harm=tuple(load_suite(source, SuiteKind.HARM) for source in settings.suites),
        attacks=attacks, benign=(*benign, *(o for o in orders if o)), tasks=tasks, judges=judges,
        harm_tokens=settings.harm_tokens, limit=settings.limit, task_limit=settings.task_limit, batch=settings.batch,
    )  # fmt: skip


def _orders(suite: Suite) -> Suite | None:
    """A file of questions is asked as orders too; one of orders as it is."""
    try:
        return imperative_of(suite)
    except SuiteError:
        return None
