"""A server that alignd watches and does not control."""

from __future__ import annotations

import pytest

from deploy.errors import StageError
from deploy.external import Options, make


async def test_what_it_serves_is_not_retired() -> None:
    deployer = make(Options(endpoint="http://server/v1", release="prod"))
    with pytest.raises(StageError, match="release prod: http://server/v1 is not alignd's to change"):
        await deployer.retire("prod")
    await deployer.retire("other")
    assert (await deployer.state()).active == "prod"


async def test_a_server_of_unknown_release_says_so() -> None:
    deployer = make(Options(endpoint="http://server/v1"))
    state = await deployer.state()
    assert (state.active, state.up) == ("", ())
    await deployer.retire("")
