"""``alignd deploy`` and ``alignd releases``, as they are called, in a world of fakes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.canary import write_canary
from deploy.checkpoint import release_names
from deploy.errors import DeployerUnavailable, Fenced
from deploy.signing import signature_of
from monitor import bootstrap, cli
from monitor.commands.serving import borrowing
from monitor.incident import IncidentId, open_incident
from monitor.service import Service
from monitor.settings import Settings, load_settings
from tests.fake_site import DRIFTED, GOOD, Ways, World, write_checkpoint
from tests.unit.deploy.test_signing import key_pair
from tests.unit.monitor.command_line import Alignd, called_in
from tests.unit.monitor.test_served_check import canary

CONFIG = """
key: long-enough-secret
store: {url: sqlite:///s.db}
targets:
- name: prod
  endpoint: http://127.0.0.1:9/v1
  model: m
  deployer: {plugin: vllm-process, options: {token_file: token}}
"""


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    (tmp_path / "alignd.yaml").write_text(CONFIG)
    return called_in(tmp_path, monkeypatch, capsys)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alignd: Alignd) -> World:
    world = World(folder=tmp_path)

    def build(_: Settings) -> Service:
        service = world.service()
        service.store.mark("prod", world.good.id, good=True, at=world.clock())
        return service

    monkeypatch.setattr(bootstrap, "build", build)
    return world


@pytest.fixture
def tuned(world: World) -> Callable[[Ways], str]:
    def write(ways: Ways) -> str:
        return str(write_checkpoint(world.folder / "tuned", replace(ways, mark="tuned")))

    return write


def test_a_good_release_takes_the_traffic(alignd: Alignd, world: World, tuned: Callable[[Ways], str]) -> None:
    code, out, err = alignd("deploy", tuned(GOOD), "--report", "report")
    assert code == 0
    assert out.splitlines()[-1].startswith(f"{world.active} took the traffic in 0.0")
    assert "G1  harm" in out
    assert world.active.startswith("prod@")
    assert "measure prod@" in err
    page, data = sorted((world.folder / "report").iterdir())
    assert "Release prod@" in page.read_text()
    said = json.loads(data.read_text())
    assert (said["outcome"], set(said["profiles"])) == ("accepted", {"reference", "in service", "candidate"})
    code, out, _ = alignd("deploy", world.active)
    assert (code, "in service already, and passed" in out) == (0, True)


def test_a_pipeline_is_told_by_the_exit_code(alignd: Alignd, world: World, tuned: Callable[[Ways], str]) -> None:
    code, out, _ = alignd("deploy", tuned(DRIFTED), "--json", "--report", "report")
    said = json.loads(out)
    assert (code, said["outcome"], said["replaces"]) == (cli.BREACH, "failed", world.good.id)
    assert {g["name"] for g in said["verification"]["gates"] if g["blocks"]} >= {"harm"}
    assert (world.active, world.promoted) == (world.good.id, [])
    assert json.loads(next((world.folder / "report").glob("*.json")).read_text())["outcome"] == "rejected"
    code, out, _ = alignd("deploy", said["release"])
    assert (code, f"{world.good.id} stays in service" in out) == (cli.BREACH, True)
    code, out, _ = alignd("deploy", world.good.id, "--no-promote")
    assert code == 0


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("missing", cli.USAGE, "no such folder"), ("cut", cli.USAGE, "half written"),
        ("target", cli.USAGE, "no target 'other'"), ("unknown id", cli.USAGE, "is not in"),
        ("down", cli.UNAVAILABLE, "does not answer"), ("incident", cli.UNAVAILABLE, "alignd abort i"),
        ("fenced", cli.UNAVAILABLE, "took over"), ("mute", cli.NOT_ENOUGH, "too many answers are missing"),
        ("external", cli.USAGE, "not alignd's to change"), ("paused", cli.NOT_ENOUGH, "alignd resume prod"),
    ],
)  # fmt: skip
def test_what_is_no_verdict_never_looks_like_one(
    alignd: Alignd, world: World, tuned: Callable[[Ways], str], *, fault: str, code: int, words: str
) -> None:
    given = [tuned(GOOD)]
    if fault in {"missing", "unknown id"}:
        given = ["./nothing" if fault == "missing" else "m@000000000000"]
    elif fault == "cut":
        (world.folder / "tuned" / "model.safetensors").write_bytes(
            (world.folder / "tuned" / "model.safetensors").read_bytes()[:-1]
        )
    elif fault == "target":
        given += ["--target", "other"]
    elif fault == "down":
        world.deployer.faults = iter([DeployerUnavailable("the serving side does not answer")])
    elif fault == "incident":
        service = world.service()
        service.store.create(
            open_incident(incident=IncidentId("i"), target="prod", release="r", recipes=(), now=world.clock(), note="9")
        )
        asyncio.run(service.aclose())
    elif fault == "fenced":
        world.hook = lambda effect: fenced() if effect == "stage" else None
    elif fault == "mute":
        world.mute_profiles = True
    elif fault == "paused":
        assert alignd("pause", "prod")[0] == 0
    else:
        (world.folder / "alignd.yaml").write_text(CONFIG.split("  deployer", maxsplit=1)[0])
    ended, out, err = alignd("deploy", *given)
    assert (ended, words in err) == (code, True), err
    assert not out
    assert world.active == world.good.id


def fenced() -> None:
    raise Fenced("holder x took over")


def test_the_store_is_listed_shown_and_verified(alignd: Alignd, world: World) -> None:
    code, out, _ = alignd("releases", "list", "--json")
    rows = {r["release"]: r for r in json.loads(out)}
    assert code == 0
    assert rows[world.good.id]["notes"] == ["prod: active", "prod: good", "prod: warm"]
    assert rows[world.drifted.id]["notes"] == []
    assert alignd("releases", "list")[1].count("@") == 2
    assert json.loads(alignd("releases", "show", world.good.id)[1])["digest"] == world.good.manifest.digest
    assert alignd("releases", "verify")[0] == 0
    (world.drifted.path / "config.json").write_text("{}")
    code, out, err = alignd("releases", "verify")
    assert (code, f"{world.good.id} is whole" in out) == (cli.BREACH, True)
    assert "is not what its manifest says" in err
    (world.drifted.path / "alignd-manifest.json").write_text("")
    assert "damaged" in alignd("releases", "list")[1]
    assert alignd("releases", "show", "no@0")[0] == cli.USAGE


def test_a_store_is_listed_although_the_server_is_away(alignd: Alignd, world: World) -> None:
    world.deployer.down = True
    code, out, err = alignd("releases", "list")
    assert (code, out.count("@"), "does not answer" in err) == (0, 2, True)


def test_only_a_release_that_was_found_good_is_promoted_by_hand(alignd: Alignd, world: World) -> None:
    code, _, err = alignd("releases", "promote", world.drifted.id)
    assert (code, f"alignd deploy {world.drifted.id}" in err) == (cli.USAGE, True)
    assert world.active == world.good.id
    assert alignd("releases", "promote", world.drifted.id, "--ungated")[0] == 0
    assert world.active == world.drifted.id
    assert alignd("releases", "roll-back")[1] == f"{world.good.id} takes the traffic of prod\n"
    assert world.active == world.good.id
    code, _, err = alignd("releases", "roll-back")
    assert (code, "target prod: no release but" in err) == (cli.BREACH, True)


def test_a_roll_back_does_not_wait_for_an_incident(alignd: Alignd, world: World) -> None:
    world.deployer.serve(world.drifted)
    service = world.service()
    service.store.create(
        open_incident(incident=IncidentId("i"), target="prod", release="r", recipes=(), now=world.clock(), note="9")
    )
    asyncio.run(service.aclose())
    assert alignd("releases", "promote", world.good.id)[0] == cli.UNAVAILABLE
    code, out, _ = alignd("releases", "roll-back")
    assert (code, world.active, "incident i is open" in out) == (0, world.good.id, True)


def test_gc_leaves_what_is_needed_and_says_why(alignd: Alignd, world: World) -> None:
    old = [world.release(f"old{n}", Ways()) for n in range(4)]
    newest = [world.release(f"new{n}", Ways()) for n in range(2)]
    (world.folder / "releases" / ".x@0.1234.partial").mkdir()
    canaries = [write_canary(world.folder / "releases", canary(r.id)) for r in (old[0], world.good)]
    code, out, _ = alignd("releases", "gc", "--keep", "2", "--dry-run")
    assert (code, out.count("would go"), len(release_names(world.folder / "releases"))) == (0, 5, 8)
    world.deployer.down = True
    assert alignd("releases", "gc", "--keep", "2")[0] == cli.UNAVAILABLE, "who knows what it serves?"
    world.deployer.down = False
    code, out, _ = alignd("releases", "gc", "--keep", "2", "--json")
    assert set(json.loads(out)["gone"]) == {r.id for r in [*old, world.drifted]} | {".x@0.1234.partial"}
    assert set(release_names(world.folder / "releases")) == {r.id for r in [*newest, world.good]}
    assert [c.exists() for c in canaries] == [False, True]


def test_gc_leaves_a_damaged_release_to_a_person_and_sweeps_the_rest(alignd: Alignd, world: World) -> None:
    newest = [world.release(f"new{n}", Ways()) for n in range(2)]
    (newest[0].path / "alignd-manifest.json").write_text("")
    code, out, _ = alignd("releases", "gc", "--keep", "2", "--json")
    said = json.loads(out)
    assert (code, said["gone"]) == (0, [])
    assert said["kept"][newest[0].id].startswith("damaged: ")
    for n in range(2):
        world.release(f"newer{n}", Ways())
    assert world.drifted.id in json.loads(alignd("releases", "gc", "--keep", "2", "--json")[1])["gone"]
    assert newest[0].path.is_dir()


def test_a_store_that_is_not_there_yet_has_nothing_to_sweep(alignd: Alignd, world: World) -> None:
    shutil.rmtree(world.folder / "releases")
    code, out, err = alignd("releases", "gc")
    assert (code, out) == (0, "")
    assert "no releases in" in err


@pytest.mark.parametrize("folder", ["y" * 300, "y" * 5000])
def test_a_path_that_no_file_system_takes_is_no_folder(alignd: Alignd, world: World, folder: str) -> None:
    for words in (["deploy", folder], ["releases", "import", folder, "--name", "x"], ["releases", "show", folder]):
        code, out, err = alignd(*words)
        assert (code, out) == (cli.USAGE, "")
        assert err.count("\n") == 1, err


def test_import_and_sign(alignd: Alignd, world: World, tuned: Callable[[Ways], str]) -> None:
    pytest.importorskip("model_signing")
    private, public = key_pair(world.folder, "k")
    code, out, _ = alignd("releases", "import", tuned(GOOD), "--name", "mine")
    release = out.strip()
    assert (code, release.startswith("mine@")) == (0, True)
    assert alignd("releases", "sign", release)[0] == cli.USAGE, "no key"
    assert alignd("releases", "sign", release, "--private-key", str(private))[0] == 0
    assert signature_of(world.folder / "releases", release).is_file()
    (world.folder / "alignd.yaml").write_text(f"{CONFIG}signing: {{public_key: {public.name}, required: true}}\n")
    code, out, err = alignd("releases", "verify")
    assert (code, f"{release} is whole and signed" in out) == (cli.BREACH, True)
    assert err.count("is not signed") == 2
    (world.folder / "alignd.yaml").write_text(f"{CONFIG}signing: {{private_key: {private.name}}}\n")
    _, out, _ = alignd("releases", "import", str(world.folder / "tuned"), "--name", "own")
    assert signature_of(world.folder / "releases", out.strip()).is_file()
    code, _, err = alignd("releases", "import", str(world.folder / "nothing"), "--name", "own")
    assert (code, "no such folder" in err) == (cli.USAGE, True)


def test_commands_act_in_the_daemons_name(alignd: Alignd, tmp_path: Path) -> None:
    settings = borrowing(load_settings(tmp_path / "alignd.yaml"))
    assert settings.targets[0].deployer.options == {"token_file": "token", "fence": "borrow"}
    (tmp_path / "alignd.yaml").write_text(CONFIG.split("  deployer", maxsplit=1)[0])
    assert borrowing(load_settings(tmp_path / "alignd.yaml")).targets[0].deployer.options == {}
    assert os.environ.get("ALIGND_TARGETS") is None


def test_signing_that_is_required_needs_its_keys(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "alignd.yaml").write_text(CONFIG + "signing: {required: true}\n")
    code, _, err = alignd("config", "show")
    assert (code, "needs public_key" in err) == (cli.USAGE, True)
    auto = CONFIG + "  mode: auto\n  recipes: [restore-subspace]\n"
    (tmp_path / "alignd.yaml").write_text(auto + "signing: {required: true, public_key: k.pub}\n")
    code, _, err = alignd("config", "show")
    assert (code, "repairs of prod could not be served" in err) == (cli.USAGE, True)
