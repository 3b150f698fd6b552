"""Weights that change in place are proved before users see them, whoever dies on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.canary import TEXTS, Canary, stored_canary, write_canary
from deploy.checkpoint import Release, list_releases
from deploy.errors import Fenced, StageError
from deploy.testing import check_deployer
from deploy.vllm.admin import admin_token
from deploy.vllm.hold import TOKEN_FILE
from deploy.vllm.reload import Options, ReloadDeployer
from deploy.vllm.reload_journal import Journal, Outcome, desired_release, write_desired
from tests.fake_reload_server import FakeVllm, said_by
from tests.unit.deploy.test_testing import release

POINTS = (
    "done /alignd/hold", "done /pause", "/collective_rpc", "done /collective_rpc", "done /alignd/name", "done /resume",
    "/v1/completions", "done /v1/completions", "/alignd/release", "done /alignd/release",
)  # fmt: skip
FAKE = Path(__file__).parents[2] / "fake_reload_server.py"


@dataclass
class Site:
    server: FakeVllm
    options: Options
    first: Release
    second: Release

    def deployer(self, **changed: object) -> ReloadDeployer:
        return ReloadDeployer(self.options.model_copy(update=changed), command=self.scratch)

    def scratch(self, _: str) -> object:
        token = self.options.state / "scratch" / "admin-token"

        def command(held: Release, port: int) -> Sequence[str]:
            return (sys.executable, str(FAKE), "m", str(held.path), held.id, str(port), str(token))

        return command

    async def ask(self, http: httpx.AsyncClient, **more: object) -> httpx.Response:
        return await http.post(f"{self.server.url}/v1/completions", json={"model": "m", "prompt": "hi", **more})

    def journal(self) -> Journal:
        found = Journal.read(self.options.state)
        assert found
        return found

    def knows_second(self) -> None:
        """Keep the second release's canary as a scratch server would, without starting one."""
        self.known(self.second)

    def known(self, held: Release) -> None:
        values = tuple(tuple(said_by(held.path, text)) for text in TEXTS)
        tokens = tuple(tuple(range(len(v))) for v in values)
        canary = Canary(
            release=held.id, dtype="float32", server="vllm 0.32.0", fingerprint=held.id, tokens=tokens, values=values
        )
        write_canary(self.options.releases, canary)

    def require_proved(self, *, served: Release) -> None:
        """Nothing is half done: weights, name, desired state and door agree."""
        assert (self.server.path, self.server.head) == (served.path.resolve(), None)
        assert self.server.speaker.system_fingerprint == self.server.version == served.id
        assert desired_release(self.options.state) == served.id
        assert self.server.resumed is None
        answer = httpx.post(f"{self.server.url}/v1/completions", json={"model": "m", "prompt": "hi"}, timeout=60.0)
        assert (answer.status_code, answer.json()["system_fingerprint"]) == (200, served.id)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    state, store = tmp_path / "state", tmp_path / "store"
    state.mkdir()
    admin_token(state)
    first, second = (release(tmp_path, n) for n in ("first", "second"))
    monkeypatch.setenv(TOKEN_FILE, str(state / "admin-token"))
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parents[1]))
    server = FakeVllm(path=first.path.resolve(), name=first.id)
    server.start()
    write_desired(state, first.id)
    options = Options(
        url=server.url, model="m", releases=store, state=state, drain_seconds=30.0, step_seconds=30.0,
        hold_seconds=60.0, start_seconds=60.0, restart_seconds=60.0,
    )  # fmt: skip
    made = Site(server=server, options=options, first=first, second=second)
    made.knows_second()
    yield made
    server.stop()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60.0) as client:
        yield client


async def test_it_keeps_the_port(tmp_path: Path, site: Site) -> None:
    third, changed = (release(tmp_path, n) for n in ("third", "changed"))
    (changed.path / "config.json").write_text("{}")
    deployer = site.deployer()
    await check_deployer(deployer, site.second, third, changed=changed)
    assert site.server.path == site.second.path.resolve()
    assert desired_release(site.options.state) == site.second.id
    assert {r.id for r in list_releases(site.options.releases)} >= {site.first.id, third.id}, "no canary in a release"
    assert stored_canary(site.options.releases, third.id, dtype="float32")


async def test_users_wait_and_none_is_answered_by_unproved_weights(site: Site, http: httpx.AsyncClient) -> None:
    slow = asyncio.create_task(site.ask(http, x_waits=True))
    asked = [slow]

    def ask_more(route: str) -> None:
        site.server.go_on = site.server.go_on or route == "done /alignd/hold"
        loop.call_soon_threadsafe(lambda: asked.append(asyncio.create_task(site.ask(http))))

    loop = asyncio.get_running_loop()
    site.server.hook = lambda route: ask_more(route) if route in POINTS and "completions" not in route else None
    await site.deployer().promote(site.second)
    answers = await asyncio.gather(*asked)
    assert len(answers) > 10
    assert {a.status_code for a in answers} == {200}
    assert {(path, name) for path, name in site.server.answered} == {
        (r.path.name, r.id) for r in (site.first, site.second)
    }, "an answer names the release whose weights made it"
    assert slow.result().json()["system_fingerprint"] == site.first.id
    assert site.journal().outcome is Outcome.DONE
    site.server.hook = lambda route: None
    site.require_proved(served=site.second)


@pytest.mark.parametrize("lie", ["none", "head"])
async def test_a_server_that_says_success_and_lies_is_found_out(site: Site, lie: str) -> None:
    site.server.lie = lie
    site.known(site.first)
    site.server.hook = lambda route: setattr(site.server, "lie", "") if route == "done /v1/completions" else None
    with pytest.raises(StageError, match=r"second@.* was not put into service \(rolled_back\): .*not serve it: log"):
        await site.deployer().promote(site.second)
    site.require_proved(served=site.first)


async def test_where_going_back_fails_too_a_restart_is_asked_for(site: Site, http: httpx.AsyncClient) -> None:
    site.server.lie = "head"
    message = r"\(failed\): .*restart the server by hand: it comes up with first@"
    with pytest.raises(StageError, match=message):
        await site.deployer(hold_seconds=2.0).promote(site.second)
    assert (await site.ask(http)).status_code == 503, "unproved weights answer nobody"
    assert (await site.deployer().state()).active == ""
    assert desired_release(site.options.state) == site.first.id


async def test_a_restart_command_brings_the_old_release_back(site: Site, tmp_path: Path) -> None:
    """The command stands for ``systemctl restart``: another process restarts the server with the desired release."""
    site.server.fails = {"/reset_prefix_cache"}
    asked = tmp_path / "asked"

    def restarts(route: str) -> None:
        if route == "/collective_rpc" and desired_release(site.options.state) == site.first.id:
            watcher.append(threading.Thread(target=restart, daemon=True))
            watcher[-1].start()

    def restart() -> None:
        while not asked.exists():
            threading.Event().wait(0.02)
        site.server.fails = set()
        site.server.restart(site.first.path.resolve(), desired_release(site.options.state))
        (tmp_path / "up").touch()

    watcher: list[threading.Thread] = []
    site.server.hook = lambda route: restarts(route) if not watcher else None
    command = ("sh", "-c", f"touch {asked}; while ! [ -e {tmp_path}/up ]; do sleep 0.1; done")
    with pytest.raises(StageError, match=r"\(restarted\): .*/reset_prefix_cache failed with status 500"):
        await site.deployer(restart=command, restart_seconds=60.0).promote(site.second)
    watcher[0].join()
    site.server.version = site.first.id  # a fresh server's is "default"
    site.require_proved(served=site.first)


async def test_a_request_that_takes_too_long_leaves_everything_as_it_was(site: Site, http: httpx.AsyncClient) -> None:
    slow = asyncio.create_task(site.ask(http, x_waits=True))
    with pytest.raises(StageError, match=r"\(unchanged\): .*1 requests were still being answered after 0.3 s"):
        await site.deployer(drain_seconds=0.3).promote(site.second)
    site.server.version = site.first.id  # it was never named
    site.server.go_on = True
    site.require_proved(served=site.first)
    assert (await slow).status_code == 200


@pytest.mark.parametrize("point", POINTS)
async def test_a_guard_that_is_killed_is_followed_by_one_that_ends_the_change(site: Site, point: str) -> None:
    killed: list[int] = []

    def kill(route: str) -> None:
        journal = Journal.read(site.options.state) if not killed else None
        if journal and journal.guard and route == point:
            killed.append(journal.guard)
            os.kill(journal.guard, signal.SIGKILL)

    site.server.hook = kill
    site.server.version = site.first.id
    with suppress(StageError):
        await site.deployer().promote(site.second)
    assert killed
    journal = site.journal()
    assert journal.guard != killed[0]
    expected = {Outcome.DONE: site.second, Outcome.UNCHANGED: site.first, Outcome.ROLLED_BACK: site.first}
    site.require_proved(served=expected[journal.outcome])


CALLER = """
import asyncio, sys
from deploy.checkpoint import find_release
from deploy.vllm.reload import Options, make
options = Options.model_validate_json(sys.argv[1])
asyncio.run(make(options).promote(find_release(options.releases, sys.argv[2])))
"""


@pytest.mark.parametrize("guard_too", [False, True])
async def test_a_caller_that_is_killed_leaves_no_shut_door(site: Site, guard_too: bool) -> None:
    killed: list[int] = []

    def kill(route: str) -> None:
        if route == "done /collective_rpc" and not killed and (guard := site.journal().guard):
            killed.extend([caller.pid, *([guard] if guard_too else [])])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    words = (sys.executable, "-c", CALLER, site.options.model_dump_json(), site.second.id)
    caller = await asyncio.create_subprocess_exec(*words)
    site.server.hook = lambda route: kill(route) if Journal.read(site.options.state) else None
    assert await caller.wait() == -signal.SIGKILL
    for _ in range(100):  # what starts next reads the state first
        state = await site.deployer().state()
        if site.journal().outcome:
            break
        await asyncio.sleep(0.1)
    state = await site.deployer().state()
    assert site.journal().outcome is (Outcome.ROLLED_BACK if guard_too else Outcome.DONE)
    served = site.first if guard_too else site.second
    assert state.active == served.id
    site.require_proved(served=served)


async def test_two_daemons_on_one_server(tmp_path: Path, site: Site) -> None:
    old, new, third = site.deployer(), site.deployer(), release(tmp_path, "third")
    await old.promote(site.second)
    await new.promote(site.first)
    with pytest.raises(Fenced, match="took over"):
        await old.promote(site.second)
    await new.stage(third)
    with pytest.raises(Fenced, match="took over"):
        await old.retire(third.id)
    assert (await old.state()).find(third.id), "reading takes no fence"
    await new.retire(third.id)
    assert site.server.path == site.first.path.resolve()
    await site.deployer(fence="borrow").promote(site.second)
    await new.promote(site.first)  # who borrowed did not take over
    site.require_proved(served=site.first)


async def test_a_server_whose_weights_are_not_what_it_says_is_mended(site: Site) -> None:
    deployer = site.deployer()
    site.known(site.first)
    await deployer.promote(site.first)
    assert Journal.read(site.options.state) is None, "nothing to do"
    site.server.head = site.second.path
    await deployer.promote(site.first)
    assert site.journal().outcome is Outcome.DONE
    site.require_proved(served=site.first)


async def test_where_no_canary_is_kept_the_folder_that_the_server_started_with_decides(site: Site) -> None:
    deployer = site.deployer()
    assert stored_canary(site.options.releases, site.first.id, dtype="float32") is None
    await deployer.promote(site.first)
    kept = stored_canary(site.options.releases, site.first.id, dtype="float32")
    assert kept, "the next look has something to hold against"
    assert Journal.read(site.options.state) is None, "nothing was changed"
    (canary,) = (site.options.releases / ".canaries").glob("first@*")
    canary.unlink()
    site.server.path = site.second.path.resolve()
    with pytest.raises(StageError, match=r"names first@.*, and its weights are of .*second@.*; restart it"):
        await deployer.promote(site.first)
    assert stored_canary(site.options.releases, site.first.id, dtype="float32") is None, "a lie is never kept"
