"""The API keeps what its OpenAPI document says: schemathesis calls it with all its checks, with a token and without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from monitor.web.access import Access
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import World
from tests.web_site import Api

_FEW = settings(
    max_examples=6, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip


def unbounded(access: Access) -> Access:
    """Let it be called as often as schemathesis likes, and by the name that its client gives it."""
    hosts = access.hosts | {"testserver"}
    return replace(access, requests_per_minute=1e9, failures_per_minute=1e9, hosts=hosts)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("api")
    world = World(folder=folder)
    service = world.service()
    yield Api(service=service, incident=asyncio.run(breach(world, service)), amend=unbounded)
    asyncio.run(service.aclose())


@pytest.fixture(scope="module")
def document(api: Api) -> Any:  # noqa: ANN401  (schemathesis' own)
    headers = {"Authorization": f"Bearer {api.tokens['all']}", "Host": "localhost"}
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", api.app, headers=headers)


@pytest.mark.parametrize("who", ["all", "reader", ""])
def test_every_answer_is_as_the_document_says(api: Api, document: Any, who: str) -> None:  # noqa: ANN401
    headers = {"Host": "localhost"} | ({"Authorization": f"Bearer {api.tokens[who]}"} if who else {})
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 18
    for operation in operations:
        hold(operation, headers, known=bool(who))


def hold(operation: Any, headers: dict[str, str], *, known: bool) -> None:  # noqa: ANN401
    @_FEW
    @given(case=operation.as_strategy())
    def holds(case: Any) -> None:  # noqa: ANN401
        answer = case.call(headers=headers)
        case.validate_response(answer, headers=headers)
        assert known or answer.status_code in {401, 405, 415, 422}, "nothing without a token"

    holds()
