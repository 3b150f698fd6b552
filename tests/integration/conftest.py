"""Fixtures that several integration tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.prometheus_host import Site, watched_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Site]:
    """One daemon and one Prometheus for all that asks them."""
    with watched_site(program("prometheus"), tmp_path_factory.mktemp("site")) as found:
        yield found
