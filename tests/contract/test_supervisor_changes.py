"""Who may change what a supervisor serves, in which order, and what it says when it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from deploy.checkpoint import Release
from deploy.errors import DeployerUnavailable, Fenced, SignatureError, StageError
from deploy.offers import reversible
from deploy.record import read_record
from deploy.signed import SignedDeployer
from deploy.testing import FakeDeployer
from deploy.vllm.admin import admin
from deploy.vllm.process import VllmProcessDeployer
from tests.contract.test_supervisor import fake, release, site
from tests.processes import children_of, cmdline
from tests.unit.deploy.test_signing import key_pair


async def test_a_later_deployer_fences_the_earlier_one_and_a_person_borrows(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path) as s:
        first, second = s.deployer, VllmProcessDeployer(s.deployer._options)
        await first.state()
        assert read_record(s.state / "desired.json").fence == 0, "reading claims nothing"
        await first.promote(a)
        await second.stage(b)
        for change in (first.promote(b), first.stage(b), first.retire(b.id), first.roll_back()):
            with pytest.raises(Fenced, match=r"holder \S+/\d+ took over at 20"):
                await change
        state = await second.state()
        assert (state.active, {u.release for u in state.up}) == (a.id, {a.id, b.id})
        person = VllmProcessDeployer(s.deployer._options.model_copy(update={"fence": "borrow"}))
        await person.promote(b)
        await second.promote(a)  # the one in whose name it was done goes on
    async with site(tmp_path) as s:
        with pytest.raises(Fenced):
            await VllmProcessDeployer(s.deployer._options)._call("POST", "/retire", {"release": b.id, "fence": 1})


async def test_a_roll_back_goes_to_the_nearest_release_that_comes_up(tmp_path: Path) -> None:
    a, b, c = (release(tmp_path, n) for n in "abc")
    async with site(tmp_path) as s:
        with pytest.raises(StageError, match="no earlier release"):
            await s.deployer.roll_back()
        for each in (a, b, c):
            await s.deployer.promote(each)
        began = time.monotonic()
        assert (await s.deployer.roll_back()).release == b.id
        assert time.monotonic() - began < 2.0
        await s.deployer.retire(a.id)
        await s.deployer.promote(c)
        await s.deployer.retire(b.id)
        (b.path / "config.json").write_text("{}")
        assert (await s.deployer.roll_back()).release == a.id, "b is damaged, a comes up from the store"
        record = await s.deployer.record()
        assert (record.desired, record.earlier) == (a.id, (b.id,))
        with pytest.raises(StageError, match=r"config\.json"):
            await s.deployer.roll_back()
        assert (await s.deployer.state()).active == a.id


async def test_a_slow_stage_holds_up_no_other_change(tmp_path: Path) -> None:
    a, b, slow = (release(tmp_path, n) for n in ("a", "b", "slow"))

    def command(which: Release, port: int) -> tuple[str, ...]:
        return ("sleep", "600") if which.id == slow.id else fake(which, port)

    async with site(tmp_path, command=command) as s:
        await s.deployer.promote(a)
        await s.deployer.stage(b)
        staging = asyncio.create_task(s.deployer.stage(slow))
        await asyncio.sleep(0.5)
        async with asyncio.timeout(5):
            await s.deployer.promote(b)
            await s.deployer.promote(a)
            await s.deployer.retire(b.id)
        assert not staging.done()
        os.kill(next(p for p in children_of(os.getpid()) if cmdline(p).startswith("sleep 600")), signal.SIGKILL)
        with pytest.raises(DeployerUnavailable, match="was killed while it started"):
            await staging


async def test_a_full_disk_refuses_the_change_and_says_so(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path) as s:
        await s.deployer.promote(a)
        b = release(tmp_path, "b")
        await s.deployer.stage(b)
        (s.state / "desired.json").unlink()
        (s.state / "desired.json").mkdir()
        (s.state / "desired.json" / "x").write_text("in the way")
        with pytest.raises(StageError, match="nothing was changed"):
            await s.deployer.promote(b)
        assert (await s.deployer.state()).active == a.id


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/promote", "[]", 400, "request"), ("/promote", "{", 400, "request"), ("/promote", "{}", 400, "request"),
        ("/promote", '{"release": "a@0"}', 400, "request"), ("/claim", "{}", 400, "request"),
        ("/promote", '{"release": "a@0", "fence": "x"}', 400, "request"),
        ("/promote", '{"release": "../x", "fence": 9}', 409, "checkpoint"), ("/nothing", "{}", 404, "route"),
        ("/state", "{}", 405, "route"), ("/roll-back", '{"fence": 0}', 409, "stage"),
    ],
)  # fmt: skip
async def test_every_answer_is_json(tmp_path: Path, path: str, body: str, status: int, error: str) -> None:
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        release(tmp_path, "a")
        headers = {"Authorization": f"Bearer {(s.state / 'admin-token').read_text()}"}
        answer = await http.post(s.admin + path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert (await http.post(f"{s.admin}/claim", json={"holder": "x"})).json()["error"] == "token"
        assert read_record(s.state / "desired.json").desired == ""


async def test_an_unforeseen_error_is_json_too_and_the_deployer_says_what_it_was(tmp_path: Path) -> None:
    class Broken:
        stage = promote = renew = retire = lift = roll_back = None

        def state(self) -> dict[str, object]:
            raise RuntimeError("unforeseen")

    transport = httpx.ASGITransport(admin(Broken(), "t"), raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get("/state", headers={"Authorization": "Bearer t"})
        assert (answer.status_code, answer.json()["error"]) == (500, "internal")
        assert "RuntimeError" in answer.json()["message"]


@pytest.mark.parametrize(("body", "words"), [("<html>", "status 502 without a reason"), ("[]", "502"), ("null", "502")])
async def test_an_answer_that_is_no_object_is_an_unavailable_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    async def answer(*_: object, **__: object) -> httpx.Response:
        return httpx.Response(502, text=body)

    async with site(tmp_path) as s:
        with monkeypatch.context() as patched, pytest.raises(DeployerUnavailable, match=words):
            patched.setattr(httpx.AsyncClient, "request", answer)
            await s.deployer.state()


async def test_the_record_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "desired.json").write_text(json.dumps({"active": a.id}))
    (tmp_path / "state" / ".desired.json.0.partial").write_text("half")
    async with site(tmp_path) as s:
        await s.deployer.promote(b)
        assert (await s.deployer.roll_back()).release == a.id
        assert not list(s.state.glob(".*.partial"))


async def test_what_is_not_signed_is_neither_staged_nor_promoted(tmp_path: Path) -> None:
    pytest.importorskip("model_signing")
    from deploy.signing import sign_release

    private, public = key_pair(tmp_path, "k")
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    inner = FakeDeployer()
    inner.serve(a)
    deployer = SignedDeployer(inner, public)
    for verb in (deployer.stage, deployer.promote):
        with pytest.raises(SignatureError, match="is not signed"):
            await verb(b)
    assert (await deployer.state()).active == a.id
    assert not inner.effects
    sign_release(b, private)
    await deployer.promote(b)
    await deployer.retire(a.id)
    assert inner.effects == [("stage", b.id), ("promote", b.id), ("retire", a.id)]
    assert reversible(deployer) is None
