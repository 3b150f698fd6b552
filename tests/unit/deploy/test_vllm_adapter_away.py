"""Going back on running vLLM servers while one of them is away."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from deploy.errors import DeployerUnavailable
from deploy.vllm.adapter import VllmAdapterDeployer
from deploy.vllm.ledger import Ledger
from deploy.vllm.replica import Replica
from tests.adapter_site import AdapterSite
from tests.unit.deploy.test_vllm_adapter import actives, replica


async def test_going_back_does_not_wait_for_a_server_that_is_away(tmp_path: Path) -> None:
    site = AdapterSite.make(tmp_path)
    pair = [await site.fake(name).start() for name in ("one", "two")]
    good, drifted, new = site.adapter("good"), site.adapter("drifted"), site.adapter("new")
    there, away = (replica(v) for v in pair)
    http = lambda: httpx.AsyncClient(transport=httpx.MockTransport(down))  # noqa: E731

    def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    ledger = Ledger(site.folder / "wanted.json")
    whole = VllmAdapterDeployer([there, away], ledger=ledger, fence="claim")
    await whole.promote(good)
    await whole.promote(drifted)
    gone = Replica("http://two/v1", http=http, headers={}, token=lambda: "")
    half = VllmAdapterDeployer([there, gone], ledger=ledger, fence="claim")
    with pytest.raises(DeployerUnavailable, match=r"server http://two/v1 does not answer"):
        await half.promote(new)
    assert await actives(*pair) == [drifted.id, drifted.id], "what no server has loaded is for when all are there"
    for _ in range(2):
        with pytest.raises(DeployerUnavailable, match=r"good@.* is in service on http://one/v1 only: .*two/v1"):
            await half.promote(good)
    assert await actives(*pair) == [good.id, drifted.id]
    back = VllmAdapterDeployer([there, away], ledger=ledger, fence="borrow")
    assert await back.lost() == ("http://two/v1",)
    await back.reassert()
    assert await actives(*pair) == [good.id, good.id]
