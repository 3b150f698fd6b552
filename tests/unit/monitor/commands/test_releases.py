"""``alignd releases`` and ``alignd stack`` where something is missing or wrong: what is said, and the exit code."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from deploy.errors import Fenced
from monitor import cli
from tests.fake_site import Ways, World
from tests.unit.monitor.command_line import Alignd
from tests.unit.monitor.commands.test_deploy import CONFIG, alignd, world

__all__ = ["alignd", "world"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("words", [("list",), ("verify",), ("gc",), ("gc", "--dry-run")])
def test_an_empty_store_says_how_to_fill_it(
    alignd: Alignd, tmp_path: Path, words: tuple[str, ...], *, there: bool
) -> None:
    (tmp_path / "alignd.yaml").write_text(CONFIG.split("  deployer", maxsplit=1)[0])
    if there:
        (tmp_path / "releases").mkdir()
    code, out, err = alignd("releases", *words)
    if there and words[0] == "gc":
        assert (code, out, err) == (0, "kept 0 (0 B); nothing can go\n", "")
    else:
        assert (code, out) == (0, "")
        assert err == (
            f"alignd: no releases in {tmp_path}/releases; `alignd deploy FOLDER` measures and serves one, "
            "`alignd releases import FOLDER --name NAME` only takes it in\n"
        )
    assert (tmp_path / "releases").exists() == there, "looking makes nothing"


def test_a_release_that_can_not_be_served_has_the_exit_code_that_help_promises(alignd: Alignd, world: World) -> None:
    broken = world.release("broken", Ways())
    world.deployer.broken = frozenset({"broken"})
    code, out, err = alignd("releases", "promote", broken.id, "--ungated")
    assert (code, out) == (cli.BREACH, "")
    assert err == f"alignd: target prod: release {broken.id} did not come up\n"
    (world.drifted.path / "config.json").write_text("{}")
    code, _, err = alignd("releases", "promote", world.drifted.id, "--ungated")
    assert (code, "config.json is not what its manifest says" in err) == (cli.USAGE, True)
    world.hook = fenced
    code, _, err = alignd("releases", "promote", world.good.id)
    assert (code, "target prod: holder x took over" in err) == (cli.UNAVAILABLE, True)
    world.deployer.down = True
    for words in (("promote", world.good.id), ("roll-back",), ("gc",)):
        assert alignd("releases", *words)[0] == cli.UNAVAILABLE, words
    assert world.active == world.good.id


def fenced(effect: str) -> None:
    if effect == "promote":
        raise Fenced("holder x took over")


def test_show_gives_times_as_all_other_json_does(alignd: Alignd, world: World) -> None:
    said = json.loads(alignd("releases", "show", world.good.id)[1])
    assert datetime.fromisoformat(said["created_at"]).isoformat() == said["created_at"]


def test_a_stack_that_can_not_be_written_is_a_fault_of_use(alignd: Alignd, tmp_path: Path) -> None:
    assert alignd("stack", "out")[0] == 0
    for words, said in (
        (("out",), "is there already; give another folder"), (("new", "--name", "a b"), "name 'a b': use letters"),
        (("/proc/x",), "can't be written"), (("new", "--port", "99999"), "'--port'"),
        (("new", "--port", "0"), "'--port'"),
    ):  # fmt: skip
        code, out, err = alignd("stack", *words)
        assert (code, out) == (cli.USAGE, ""), words
        assert said in err
    assert not (tmp_path / "new").exists()
