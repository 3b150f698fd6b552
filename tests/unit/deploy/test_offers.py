"""What a deployer offers beside its port is found through a wrapper too, and only what is there."""

from __future__ import annotations

import inspect
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from deploy.checkpoint import Release
from deploy.deployer import Deployer, ServedRelease
from deploy.errors import SignatureError, StageError
from deploy.external import ExternalDeployer
from deploy.offers import (
    Closing,
    Layering,
    Quarantining,
    Ranked,
    Reasserting,
    Renewing,
    Reversible,
    Wrapper,
    closing,
    layering,
    quarantining,
    ranked,
    reasserting,
    renewing,
    reversible,
)
from deploy.record import PromotionRecord
from deploy.signed import SignedDeployer
from deploy.testing import FakeDeployer
from deploy.vllm.adapter import VllmAdapterDeployer
from deploy.vllm.process import VllmProcessDeployer
from deploy.vllm.reload import ReloadDeployer
from tests.unit.deploy.test_signing import key_pair
from tests.unit.deploy.test_testing import release

OFFERS = {
    Reversible: reversible, Reasserting: reasserting, Renewing: renewing, Quarantining: quarantining, Ranked: ranked,
    Layering: layering, Closing: closing,
}  # fmt: skip
"""Every port beside that of deployers, and what finds it."""
DEPLOYERS = (ExternalDeployer, FakeDeployer, ReloadDeployer, VllmAdapterDeployer, VllmProcessDeployer)
WRAPPERS = (SignedDeployer,)


class Plain(FakeDeployer):
    """Offers nothing."""


class Recording(FakeDeployer):
    async def record(self) -> PromotionRecord:
        return PromotionRecord(desired="a@000000000000")

    async def roll_back(self) -> ServedRelease:
        raise StageError("no earlier release")


class Returning(FakeDeployer):
    """Its servers come back without what is wanted."""

    folder: Path | None = None
    away: tuple[str, ...] = ("http://one/v1",)

    async def wanted(self) -> Path | None:
        return self.folder

    async def lost(self) -> tuple[str, ...]:
        return self.away

    async def reassert(self) -> tuple[str, ...]:
        lost, self.away = self.away, ()
        self.effects.append(("reassert", self.folder.name if self.folder else ""))
        return lost


class Holding(FakeDeployer):
    async def aclose(self) -> None:
        self.effects.append(("close", ""))


class Fresh(FakeDeployer):
    async def renew(self, release: Release) -> ServedRelease:
        self.effects.append(("renew", release.id))
        return self._served(release.id)


class Layered(FakeDeployer):
    async def base_of_adapters(self) -> str:
        return "base@000000000000"


class All(Recording, Returning, Fresh, Layered, Holding):
    pass


def public(kind: type) -> set[str]:
    return {n for n, f in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}


def test_every_verb_of_a_shipped_deployer_belongs_to_a_port_that_wrappers_know() -> None:
    known = public(Deployer).union(*(public(port) for port in OFFERS))
    for kind in DEPLOYERS:
        own = public(kind) - ({"serve"} if kind is FakeDeployer else set())
        assert own <= known, f"{kind.__name__}: give {own - known} a port in deploy.offers, which wrappers pass on"


def test_every_port_has_its_finder_in_wrappers() -> None:
    assert {f.__name__ for f in OFFERS.values()} == public(Wrapper)


@pytest.mark.parametrize("kind", [Plain, Recording, Returning, Fresh, Layered, Holding, All])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_offers_what_the_wrapped_one_does(kind: type[FakeDeployer], wrapper: type[SignedDeployer]) -> None:
    inner = kind()
    twice = wrapper(wrapper(inner, Path("key")), Path("key"))
    for port, find in OFFERS.items():
        assert (find(inner) is not None) == isinstance(inner, port)
        found = find(twice)
        assert (found is not None) == isinstance(inner, port), f"{wrapper.__name__} hides {port.__name__}"
        assert found is None or isinstance(found, port)


async def test_what_is_offered_reaches_the_wrapped_one(tmp_path: Path) -> None:
    inner = All()
    deployer = SignedDeployer(inner, tmp_path / "key")
    back, held, returns = reversible(deployer), closing(deployer), reasserting(deployer)
    assert back
    assert held
    assert returns
    on = layering(deployer)
    assert on
    assert await on.base_of_adapters() == "base@000000000000"
    assert (await back.record()).desired == "a@000000000000"
    with pytest.raises(StageError, match="no earlier release"):
        await back.roll_back()
    await held.aclose()
    assert (await returns.wanted(), await returns.lost()) == (None, ("http://one/v1",))
    assert await returns.reassert() == ("http://one/v1",)
    assert inner.effects == [("close", ""), ("reassert", "")]


async def test_only_a_signed_release_is_put_back(tmp_path: Path) -> None:
    pytest.importorskip("model_signing")
    from deploy.signing import sign_release

    private, public_key = key_pair(tmp_path, "k")
    wanted: Release = release(tmp_path, "a")
    inner = Returning()
    inner.folder = wanted.path
    returns = reasserting(SignedDeployer(inner, public_key))
    assert returns
    with pytest.raises(SignatureError, match="is not signed"):
        await returns.reassert()
    assert not inner.effects
    sign_release(wanted, private)
    assert await returns.reassert() == ("http://one/v1",)
    assert inner.effects == [("reassert", wanted.id)]


async def test_only_a_signed_release_is_served_afresh(tmp_path: Path) -> None:
    pytest.importorskip("model_signing")
    from deploy.signing import sign_release

    private, public_key = key_pair(tmp_path, "k")
    served: Release = release(tmp_path, "a")
    inner = Fresh()
    inner.serve(served)
    renews = renewing(SignedDeployer(inner, public_key))
    assert renews
    with pytest.raises(SignatureError, match="is not signed"):
        await renews.renew(served)
    assert not inner.effects
    sign_release(served, private)
    assert (await renews.renew(served)).takes_traffic
    assert inner.effects == [("renew", served.id)]


def test_shipped_entry_points_are_the_ones_that_are_looked_at() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    named = tomllib.loads(text)["project"]["entry-points"]["alignd.deployers"].values()
    assert {import_module(m).__name__ for m in named} == {k.__module__ for k in DEPLOYERS if k is not FakeDeployer}
