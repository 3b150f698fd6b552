"""What the supervisor's admin port shows beside its verbs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.errors import CheckpointError
from tests.contract.test_supervisor import release, site


async def test_what_was_refused_is_counted_there_too(tmp_path: Path) -> None:
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await http.post(f"{s.url}/adapters", json={})
        await http.get(f"{s.admin}/state")
        await http.get(f"{s.admin}/adapters")
        with pytest.raises(CheckpointError):
            await s.deployer.promote(replace(release(tmp_path, "a"), id="no@000000000000"))
        page = (await http.get(f"{s.admin}/metrics")).text
    found = {(m.name, m.labels["reason"]): m.value for f in text_string_to_metric_families(page) for m in f.samples}
    front, admin = "alignd_front_refused_requests_total", "alignd_admin_refused_requests_total"
    assert {k for k, v in found.items() if v == 1} == {
        (front, "route"), (admin, "token"), (admin, "route"), (admin, "checkpoint")
    }  # fmt: skip
