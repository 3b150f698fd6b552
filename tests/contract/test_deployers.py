"""Deployers on real parts keep their port."""

from __future__ import annotations

from pathlib import Path

from deploy.testing import check_deployer, check_quarantining_deployer
from tests.contract.test_supervisor import release, site


async def test_vllm_process(tmp_path: Path) -> None:
    first, second, changed = (release(tmp_path, n) for n in ("first", "second", "changed"))
    (changed.path / "config.json").write_text("{}")
    async with site(tmp_path) as s:
        await check_deployer(s.deployer, first, second, changed=changed)
        await check_quarantining_deployer(s.deployer, first, second)
