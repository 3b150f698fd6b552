"""The public name means what was last activated, over restarts and kills, and nothing that failed a check."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from alignd_vllm.errors import Reason, Refused
from alignd_vllm.steering import Steering
from alignd_vllm.testing import FakeVllm
from deploy.checkpoint import Release
from tests.adapter_site import AdapterSite


@pytest.fixture
def site(tmp_path: Path) -> AdapterSite:
    return AdapterSite.make(tmp_path)


@pytest.fixture
async def vllm(site: AdapterSite) -> FakeVllm:
    return await site.fake().start()


def steering(vllm: FakeVllm) -> Steering:
    assert vllm.steering
    return vllm.steering


async def stage(vllm: FakeVllm, release: Release, *, fence: int = 0) -> None:
    await steering(vllm).stage(release.id, path=str(release.path), sha256=release.manifest.digest, fence=fence)


async def activate(vllm: FakeVllm, release: Release, *, fence: int = 0, expect: str | None = None) -> None:
    await steering(vllm).activate(
        release.id, path=str(release.path), sha256=release.manifest.digest, fence=fence, expect=expect
    )


async def answers(vllm: FakeVllm, model: str | None = "prod") -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(vllm.app), base_url="http://x") as users:
        answer = await users.post("/v1/completions", json={"model": model} if model is not None else {})
    return str(answer.json()["model"]) if answer.status_code == 200 else str(answer.status_code)


async def test_the_public_name_and_no_name_go_to_the_active_release(vllm: FakeVllm, site: AdapterSite) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    names = ("prod", None, "")
    assert {await answers(vllm, n) for n in names} == {site.base.id}
    await stage(vllm, a)
    assert {await answers(vllm, n) for n in names} == {site.base.id}
    assert await answers(vllm, a.id) == a.id
    await activate(vllm, a)
    await activate(vllm, b)
    assert {await answers(vllm, n) for n in names} == {b.id}
    assert [await answers(vllm, r.id) for r in (site.base, a, b)] == [site.base.id, a.id, b.id]
    assert await answers(vllm, "other") == "404"
    said = steering(vllm).state()
    assert (said["active"], said["previous"], said["up"]) == (b.id, a.id, [site.base.id, a.id, b.id])
    await activate(vllm, site.base)
    assert {await answers(vllm, n) for n in names} == {site.base.id}


async def test_each_content_has_its_own_name_and_path(vllm: FakeVllm, site: AdapterSite) -> None:
    for name in ("a", "b"):
        await stage(vllm, site.adapter(name))
    paths = {found.path for found in vllm.names.values()}
    assert len(paths) == 2
    assert all(Path(p).is_relative_to(vllm.folder) for p in paths), "vLLM loads the copies that were checked"


async def test_rollback_is_one_step_back(vllm: FakeVllm, site: AdapterSite) -> None:
    a = site.adapter("a")
    with pytest.raises(Refused, match="there is no release before"):
        await steering(vllm).rollback(fence=0, expect=site.base.id)
    await activate(vllm, a)
    await steering(vllm).rollback(fence=0, expect=a.id)
    assert await answers(vllm) == site.base.id
    with pytest.raises(Refused, match="is active, not a@") as refused:
        await steering(vllm).rollback(fence=0, expect=a.id)
    assert refused.value.reason is Reason.EXPECT
    await steering(vllm).rollback(fence=0, expect=site.base.id)
    assert await answers(vllm) == a.id


async def test_rollback_needs_no_store(vllm: FakeVllm, site: AdapterSite) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    await activate(vllm, a)
    await activate(vllm, b)
    shutil.rmtree(site.store)
    await steering(vllm).rollback(fence=0, expect=b.id)
    assert await answers(vllm) == a.id
    await vllm.start()
    assert await answers(vllm) == a.id


async def test_a_restart_serves_the_same_before_it_answers(vllm: FakeVllm, site: AdapterSite) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    await activate(vllm, a)
    await stage(vllm, b)
    await steering(vllm).claim("daemon")
    before = steering(vllm).state()
    await vllm.start()
    assert steering(vllm).state() == before
    assert await answers(vllm) == a.id
    assert vllm.done[-4:] == [f"load {a.id}", f"try {a.id}", f"load {b.id}", f"try {b.id}"]


@pytest.mark.parametrize("lost", ["the copy", "the copy and the store", "the model fails"])
async def test_what_can_not_be_served_again_is_not_replaced_by_the_base(
    vllm: FakeVllm, site: AdapterSite, lost: str
) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    await activate(vllm, a)
    if lost == "the model fails":
        vllm.broken = frozenset({"a"})
    else:
        shutil.rmtree(vllm.folder / "adapters")
    if lost == "the copy and the store":
        (a.path / "adapter_model.safetensors").write_bytes(b"")
    await vllm.start()
    if lost == "the copy":
        assert await answers(vllm) == a.id, "copied again from the store"
        return
    assert [await answers(vllm, n) for n in ("prod", None)] == ["503", "503"]
    assert (steering(vllm).state()["active"], steering(vllm).state()["desired"]) == ("", a.id)
    assert await answers(vllm, site.base.id) == site.base.id
    await activate(vllm, b, expect="")
    assert await answers(vllm) == b.id


async def test_a_release_that_fails_its_test_leaves_nothing(vllm: FakeVllm, site: AdapterSite) -> None:
    a, bad = site.adapter("a"), site.adapter("bad")
    await activate(vllm, a)
    vllm.broken = frozenset({"bad"})
    before = steering(vllm).state()
    for call in (stage, activate):
        with pytest.raises(Refused, match="no finite probability"):
            await call(vllm, bad)
        assert steering(vllm).state() == before
        assert (await answers(vllm), await answers(vllm, bad.id)) == (a.id, "404")
        assert len(list((vllm.folder / "adapters").iterdir())) == 1
    vllm.broken = frozenset({"a"})
    await activate(vllm, site.base)
    with pytest.raises(Refused, match="no finite probability"):
        await activate(vllm, a)
    assert await answers(vllm) == site.base.id


async def test_a_folder_that_changes_after_staging_is_not_activated(vllm: FakeVllm, site: AdapterSite) -> None:
    a = site.adapter("a")
    await stage(vllm, a)
    (a.path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(Refused, match="was changed since the import"):
        await activate(vllm, a)
    assert await answers(vllm) == site.base.id
    b = site.adapter("b")
    await stage(vllm, b)
    for copy in (vllm.folder / "adapters").iterdir():
        (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(Refused, match="was changed since the import"):
        await activate(vllm, b)
    assert await answers(vllm) == site.base.id


async def test_a_taken_name_is_refused(site: AdapterSite) -> None:
    a = site.adapter("a")
    vllm = site.fake()
    vllm.public = ("prod", a.id)
    await vllm.start()
    with pytest.raises(Refused, match="is taken on this server"):
        await stage(vllm, a)


async def test_an_older_holder_is_refused(vllm: FakeVllm, site: AdapterSite) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    await activate(vllm, a)
    assert await steering(vllm).claim("one") == {"fence": 1}
    assert await steering(vllm).claim("two") == {"fence": 2}
    await vllm.start()
    before = steering(vllm).state()
    steers = steering(vllm)
    for call in (
        stage(vllm, b, fence=1), activate(vllm, b, fence=1), steers.rollback(fence=1, expect=a.id),
        steers.retire(a.id, fence=1),
    ):  # fmt: skip
        with pytest.raises(Refused, match="fence 1 is over: holder two took over at ") as refused:
            await call
        assert refused.value.reason is Reason.FENCED
    assert steering(vllm).state() == before
    await activate(vllm, b, fence=2)


async def test_retiring_waits_for_requests(vllm: FakeVllm, site: AdapterSite) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    await activate(vllm, a)
    await activate(vllm, b)
    with pytest.raises(Refused, match="takes traffic"):
        await steering(vllm).retire(b.id, fence=0)
    vllm.flights[a.id] = 1
    retiring = asyncio.create_task(steering(vllm).retire(a.id, fence=0))
    await asyncio.sleep(0.1)
    assert await answers(vllm, a.id) == "404", "nothing new comes while it drains"
    await activate(vllm, site.base)
    await activate(vllm, b)
    with pytest.raises(Refused, match="still answers 1 requests"):
        await retiring
    assert await answers(vllm, a.id) == a.id
    vllm.flights[a.id] = 0
    await steering(vllm).retire(a.id, fence=0)
    assert f"unload {a.id}" in vllm.done
    assert [p.name.split("-")[0] for p in (vllm.folder / "adapters").iterdir()] == [b.id]
    await steering(vllm).retire("unknown@1", fence=0)
    await steering(vllm).retire(site.base.id, fence=0)
    assert steering(vllm).state()["up"] == [site.base.id, b.id]


async def test_a_release_staged_again_while_it_drains_stays(vllm: FakeVllm, site: AdapterSite) -> None:
    a = site.adapter("a")
    await stage(vllm, a)
    retiring = asyncio.create_task(steering(vllm).retire(a.id, fence=0))
    await asyncio.sleep(0.1)
    await activate(vllm, a)
    await retiring
    assert (await answers(vllm), steering(vllm).state()["active"]) == (a.id, a.id)
    assert f"unload {a.id}" not in vllm.done


def die_at(moment: int, moments: Iterator[int], _: str) -> None:
    if next(moments) == moment:
        raise KeyboardInterrupt


async def test_a_kill_at_any_moment_leaves_the_old_release_or_the_new_one(site: AdapterSite) -> None:
    """Whatever is done is done a first time; the process dies just before it."""
    a, b = site.adapter("a"), site.adapter("b")
    for moment in range(4):
        vllm = await site.fake(f"killed-{moment}").start()
        await activate(vllm, a)
        moments = iter(range(10))

        vllm.hook = partial(die_at, moment, moments)
        try:
            await activate(vllm, b)
            died = False
        except KeyboardInterrupt:
            died = True
        vllm.hook = lambda _: None
        await vllm.start()
        assert await answers(vllm) == (a.id if died else b.id)
        assert died == (moment < 3)
        await activate(vllm, b)
        assert await answers(vllm) == b.id


async def test_a_full_disk_changes_nothing(
    vllm: FakeVllm, site: AdapterSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    await activate(vllm, a)
    await stage(vllm, b)
    before = steering(vllm).state()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        for call in (activate(vllm, b), steering(vllm).claim("x"), steering(vllm).retire(b.id, fence=0)):
            with pytest.raises(Refused, match="No space left") as refused:
                await call
            assert refused.value.status == 507
    assert steering(vllm).state() == before
    assert [await answers(vllm, n) for n in ("prod", b.id)] == [a.id, b.id]
    await vllm.start()
    assert steering(vllm).state() == before
