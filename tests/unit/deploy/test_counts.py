"""What the relaying front answers in a server's place is counted by its reason."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from deploy.vllm.front import BODY_BYTES_MAX
from deploy.vllm.relay import RelayFront
from tests.raw_http import Conversation, exchange, post, upstream
from tests.unit.deploy.test_relay import site


async def test_what_is_answered_in_a_servers_place_is_counted_by_its_reason() -> None:
    async def broken(told: Conversation) -> None:
        await told.say(b"no HTTP\r\n\r\n")

    asked = (
        ("route", post("/adapters")), ("method", post("/v1/models")), ("server_broken", post()),
        ("body_size", post().replace(b"Length: 2", f"Length: {BODY_BYTES_MAX + 1}".encode())),
        ("slow_body", post().replace(b"Length: 2", b"Length: 3")),
    )  # fmt: skip
    async with upstream(broken) as up, site(up.port, front=RelayFront(body_seconds=0.1)) as s:
        for reason, request in asked:
            assert s.front.refused[reason] == 0
            await exchange(s.port, request)
            assert s.front.refused[reason] == 1, reason
        await s.front.switch(None)
        assert b" 503 " in await exchange(s.port, post())
        page = s.front.refused.page("refused_total", "What was refused")
    assert 'refused_total{reason="no_release"} 1' in page
    (family,) = text_string_to_metric_families(page)
    assert sum(sample.value for sample in family.samples) == len(asked) + 1
