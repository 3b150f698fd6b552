"""The deployer of adapters against the plugin's own routes, on one server and on two."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from alignd_vllm.server import Limits
from alignd_vllm.testing import FakeVllm
from deploy.checkpoint import Release
from deploy.errors import CheckpointError, DeployError, DeployerUnavailable, Fenced, StageError
from deploy.testing import check_deployer, check_layering_deployer
from deploy.vllm.adapter import Options, ReplicaPort, VllmAdapterDeployer, make
from deploy.vllm.ledger import Ledger
from deploy.vllm.replica import Replica
from tests.adapter_site import AdapterSite


@pytest.fixture
def site(tmp_path: Path) -> AdapterSite:
    return AdapterSite.make(tmp_path)


@pytest.fixture
async def pair(site: AdapterSite) -> list[FakeVllm]:
    return [await site.fake(name).start() for name in ("one", "two")]


def replica(vllm: FakeVllm, *, key: str = "", token: str | None = None) -> Replica:
    return Replica(
        f"http://{vllm.folder.name}/v1",
        http=lambda: httpx.AsyncClient(transport=httpx.ASGITransport(vllm.app)),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        token=lambda: vllm.token if token is None else token,
    )


def deployer(site: AdapterSite, *servers: FakeVllm, borrow: bool = False) -> VllmAdapterDeployer:
    replicas: list[ReplicaPort] = [replica(v) for v in servers]
    ledger = Ledger(site.folder / "wanted.json")
    return VllmAdapterDeployer(replicas, ledger=ledger, fence="borrow" if borrow else "claim")


def changed(site: AdapterSite) -> Release:
    release = site.adapter("changed")
    (release.path / "adapter_config.json").write_text("{}")
    return release


async def actives(*servers: FakeVllm) -> list[str]:
    return [s.steering.active for s in servers if s.steering]


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("borrow", [True, False])
async def test_it_keeps_the_port(site: AdapterSite, pair: list[FakeVllm], servers: int, borrow: bool) -> None:
    one = deployer(site, *pair[:servers], borrow=borrow)
    await check_deployer(one, site.adapter("a"), site.adapter("b"), changed=changed(site))
    await one.promote(site.base)
    state = await one.state()
    assert state.active == site.base.id
    found = state.find(site.base.id)
    assert found
    assert (found.endpoint, found.model) == ("http://one/v1", site.base.id)
    assert found.also_at == tuple(f"http://{v.folder.name}/v1" for v in pair[1:servers])
    with pytest.raises(StageError, match="takes traffic on http://one/v1; promote another one first"):
        await one.retire(site.base.id)


async def test_it_says_what_its_servers_run(site: AdapterSite, pair: list[FakeVllm]) -> None:
    one, other = deployer(site, *pair), AdapterSite.make(site.folder / "other", name="other")
    await check_layering_deployer(one, other=other.base)
    await one.promote(site.adapter("a"))
    await check_layering_deployer(one, other=other.base)
    elsewhere = await other.fake("three").start()
    with pytest.raises(DeployerUnavailable, match=r"different bases \(http://one/v1: prod@.*, http://three/v1: other@"):
        await deployer(site, pair[0], elsewhere).base_of_adapters()


async def test_the_base_stays_under_its_adapters(site: AdapterSite, pair: list[FakeVllm]) -> None:
    one, a = deployer(site, *pair), site.adapter("a")
    await one.promote(a)
    await one.retire(site.base.id)
    assert [s.release for s in (await one.state()).up] == [site.base.id, a.id]


async def test_reading_takes_nothing_over(site: AdapterSite, pair: list[FakeVllm]) -> None:
    one, two = deployer(site, *pair), deployer(site, *pair)
    a, b, c = (site.adapter(n) for n in "abc")
    await one.promote(a)
    await two.state()
    await two.promote(a)
    await one.stage(b)
    await two.promote(b)
    for call in (one.promote(a), one.stage(c), one.retire(a.id)):
        with pytest.raises(Fenced, match=r"http://one/v1: fence 1 is over: holder .* took over at .* with fence 2"):
            await call
    assert await actives(*pair) == [b.id, b.id]
    await deployer(site, *pair, borrow=True).promote(a)
    await two.promote(b)
    assert await actives(*pair) == [b.id, b.id], "one who borrows locks nobody out"


async def test_what_a_server_can_not_serve_is_refused_before_any_is_touched(
    site: AdapterSite, pair: list[FakeVllm]
) -> None:
    other = AdapterSite.make(site.folder / "other", name="other")
    pair[1].limits = Limits(lora_rank_max=8, loras_max=1)
    one = deployer(site, *pair)
    for release, message in (
        (site.adapter("a", rank=16), "two/v1: has rank 16, the server takes up to 8; start vLLM with"),
        (site.adapter("b"), "two/v1: vLLM was started with --max-loras 1"),
        (other.adapter("c"), r"one/v1: is an adapter for other@.*, the server runs prod@"),
        (other.base, "one/v1: is a full checkpoint, the server runs prod@.*; serve it with deployer vllm-process"),
    ):
        for verb in (one.stage, one.promote):
            with pytest.raises(StageError, match=message):
                await verb(release)
    pair[0].version = "0.40.1"
    with pytest.raises(StageError, match=r"one/v1: runs vLLM 0\.40\.1, adapters were tested with 0\.32\.x"):
        await one.stage(site.base)
    assert [v.done for v in pair] == [[], []]
    assert [v.steering.state()["fence"] for v in pair if v.steering] == [0, 0]


async def test_one_server_that_refuses_leaves_all_as_they_were(site: AdapterSite, pair: list[FakeVllm]) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    one = deployer(site, *pair)
    await one.promote(a)
    await one.stage(b)
    pair[1].broken = frozenset({"b"})
    with pytest.raises(StageError, match=r"http://two/v1: release b@.* gives no finite probability|no finite"):
        await one.promote(b)
    assert await actives(*pair) == [a.id, a.id]
    assert (await one.state()).active == a.id
    assert Ledger(site.folder / "wanted.json").read().desired == a.id
    pair[1].broken = frozenset()
    await one.promote(b)
    assert await actives(*pair) == [b.id, b.id]


async def test_a_server_that_lost_its_release_is_not_said_to_serve_it(site: AdapterSite, pair: list[FakeVllm]) -> None:
    a = site.adapter("a")
    one = deployer(site, *pair)
    await one.promote(a)
    assert await one.lost() == ()
    (pair[1].folder / "state.json").unlink()
    await pair[1].start()
    state = await one.state()
    assert (state.active, state.find(a.id)) == ("", None)
    assert await one.lost() == ("http://two/v1",)
    await one.promote(a)
    assert (await one.state()).active == a.id
    assert await one.lost() == ()


async def test_a_roll_back_at_the_servers_is_not_undone(site: AdapterSite, pair: list[FakeVllm]) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    one = deployer(site, *pair)
    assert (await one.wanted(), await one.lost()) == (None, ()), "nothing was promoted yet"
    await one.promote(a)
    await one.promote(b)
    assert await one.wanted() == b.path
    for vllm in pair:
        fence = (await replica(vllm).state()).fence
        await replica(vllm).rollback(fence=fence, expect=b.id)
    assert await actives(*pair) == [a.id, a.id]
    assert (await one.lost(), await one.reassert()) == ((), ())
    assert await actives(*pair) == [a.id, a.id], "all servers agree and have what is wanted: somebody meant it"
    await replica(pair[0]).activate(b, fence=fence, expect=a.id)
    assert await one.lost() == ("http://two/v1",), "two servers that differ are nobody's will"


async def test_a_server_that_restarts_mid_flip_is_brought_back_by_asking_again(
    site: AdapterSite, pair: list[FakeVllm]
) -> None:
    a, b = site.adapter("a"), site.adapter("b")
    one = deployer(site, *pair)
    await one.promote(a)

    def dies(what: str) -> None:
        if what == f"try {b.id}" and f"try {b.id}" in pair[1].done:
            raise httpx.ReadError("gone")

    pair[1].hook = dies
    with pytest.raises(DeployerUnavailable, match="http://two/v1 does not answer"):
        await one.promote(b)
    pair[1].hook = lambda _: None
    await pair[1].start()
    assert (await one.state()).active == "", "two servers differ"
    assert await one.lost() == ("http://two/v1",)
    await one.promote(b)
    assert await actives(*pair) == [b.id, b.id]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("down", r"server http://one/v1 does not answer \(ConnectError\); start it"),
        ("no plugin", "has no alignd plugin; install alignd-vllm and start vLLM with VLLM_PLUGINS=alignd"),
        ("key", "does not take the API key; mend api_key"),
        ("token", "does not take the plugin's token; mend token_file"),
        ("nonsense", "answers with no state of the plugin"),
        ("page", "answers 502: no reason; look into its log"),
    ],
)
async def test_a_server_that_can_not_be_asked_is_unavailable(site: AdapterSite, harm: str, message: str) -> None:
    vllm = await site.fake("one").start()

    def answer(_: httpx.Request) -> httpx.Response:
        match harm:
            case "down":
                raise httpx.ConnectError("no")
            case "no plugin":
                return httpx.Response(404, json={"detail": "Not Found"})
            case "key":
                return httpx.Response(401, json={"error": "Unauthorized"})
            case "nonsense":
                return httpx.Response(200, json={"active": 1})
        return httpx.Response(502, text="<html>")

    asked = replica(vllm, token="wrong")
    if harm != "token":
        asked = Replica(
            "http://one/v1", http=lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer)), headers={},
            token=lambda: "",
        )  # fmt: skip
    one = VllmAdapterDeployer([asked], ledger=Ledger(site.folder / "wanted.json"), fence="claim")
    for call in (one.state(), one.promote(site.base), one.retire("x@1"), one.stage(site.base)):
        with pytest.raises(DeployerUnavailable, match=message):
            await call


async def test_a_refused_path_is_a_checkpoint_error(site: AdapterSite, pair: list[FakeVllm]) -> None:
    """The server has the store elsewhere than it is told."""
    a = site.adapter("a")
    asked = Replica(
        "http://one/v1", http=lambda: httpx.AsyncClient(transport=httpx.ASGITransport(pair[0].app)), headers={},
        token=lambda: pair[0].token, releases="/elsewhere",
    )  # fmt: skip
    one = VllmAdapterDeployer([asked], ledger=Ledger(site.folder / "wanted.json"), fence="claim")
    with pytest.raises(CheckpointError, match=r"/elsewhere/a@.*: is not .*; give a release of the store"):
        await one.promote(a)
    assert (await one.state()).active == site.base.id
    assert Ledger(site.folder / "wanted.json").read().desired == ""


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"replicas": ["http://a"]}, "is no base URL; write it like"),
        ({"replicas": []}, "at least 1 item"),
        ({"token_file": None}, "needs token_file"),
        ({"steer": "gateway"}, "needs gateway and base"),
        ({"other": 1}, "Extra inputs"),
        ({"api_key": "a\nb"}, "no header can carry"),
    ],
)
def test_options_that_can_not_work_are_refused(harm: dict[str, object], message: str) -> None:
    whole: dict[str, object] = {"replicas": ["http://a/v1"], "state_file": "/s", "token_file": "/t"}
    Options.model_validate(whole)
    with pytest.raises(ValidationError, match=message):
        Options.model_validate({**whole, **harm})


async def test_a_missing_token_says_where_it_should_be(tmp_path: Path) -> None:
    options = Options(
        replicas=("http://127.0.0.1:9/v1",), state_file=tmp_path / "s", token_file=tmp_path / "t",
        api_key=SecretStr("secret"),
    )  # fmt: skip
    assert "secret" not in repr(options)
    with pytest.raises(DeployerUnavailable, match=r"no token at .*/t; start vLLM with the alignd plugin"):
        await make(options).state()
    for text, message in (("ü", "no token at"), ("a\nb", "holds no token")):
        (tmp_path / "t").write_text(text)
        with pytest.raises(DeployerUnavailable, match=message):
            await make(options).state()


@pytest.mark.parametrize("text", ["", "[]", '{"wanted": 1}'])
async def test_a_damaged_ledger_is_said(site: AdapterSite, pair: list[FakeVllm], text: str) -> None:
    (site.folder / "wanted.json").write_text(text)
    with pytest.raises(DeployError, match=r"wanted\.json is damaged; delete it"):
        await deployer(site, *pair).promote(site.adapter("a"))
    assert await actives(*pair) == [site.base.id] * 2


def test_what_is_wanted_is_written_whole(site: AdapterSite) -> None:
    file = site.folder / "wanted.json"
    file.write_text(json.dumps({"desired": "a@1", "path": "/a", "fence": 3, "holder": "h", "claimed_at": "t"}))
    entry = Ledger(file).read()
    assert (entry.desired, entry.fence) == ("a@1", 3)
