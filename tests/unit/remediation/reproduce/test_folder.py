"""What a run's folder takes for its own, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediation.errors import ReproduceError
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ReproduceSettings


@pytest.fixture
def settings(tmp_path: Path) -> ReproduceSettings:
    (tmp_path / "m").mkdir()
    return ReproduceSettings(model=tmp_path / "m", attacks=("backdoor",), recipes=("a",))


def fill(file: Path, text: str = "mine") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", ["work/thesis.txt", ".alignd-work/thesis.txt", "tables.csv", ".thesis.1.partial"])
def test_a_folder_of_something_else_is_refused_and_keeps_it(
    tmp_path: Path, settings: ReproduceSettings, name: str
) -> None:
    mine = fill(tmp_path / "out" / name)
    with pytest.raises(ReproduceError, match=rf"out holds {name.partition('/')[0]}, .* empty, new, or a run's own"):
        ReproduceFolder(tmp_path / "out").begin(settings)
    assert mine.read_text() == "mine"
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name.partition("/")[0]]


def test_settings_of_something_else_are_refused_and_kept(tmp_path: Path, settings: ReproduceSettings) -> None:
    mine, scratch = fill(tmp_path / "out" / "settings.json"), fill(tmp_path / "out" / ".alignd-work" / "thesis.txt")
    with pytest.raises(ReproduceError, match=r"settings\.json: can't be read; give another --out"):
        ReproduceFolder(tmp_path / "out").begin(settings)
    assert (mine.read_text(), scratch.read_text()) == ("mine", "mine")


def test_what_is_put_there_beforehand_and_what_a_killed_start_left_are_no_hindrance(
    tmp_path: Path, settings: ReproduceSettings
) -> None:
    for name in ("drifted/backdoor-s0/config.json", ".lock", "rows/.x", ".settings.json.0a1b2c3d.partial"):
        fill(tmp_path / "out" / name)
    ReproduceFolder(tmp_path / "out").begin(settings)
    assert (tmp_path / "out" / "drifted" / "backdoor-s0" / "config.json").read_text() == "mine"


def test_a_run_of_an_earlier_version_goes_on_and_only_its_own_scratch_is_removed(
    tmp_path: Path, settings: ReproduceSettings
) -> None:
    run = ReproduceFolder(tmp_path / "out")
    run.begin(settings)
    mine, scratch = fill(run.path / "work" / "stderr.txt"), fill(run.work / "stderr.txt")
    run.begin(settings)
    assert (mine.exists(), scratch.exists()) == (True, False)


@pytest.mark.parametrize("out", ["m", "m/out", "link/out", "outer"])
def test_a_folder_in_a_checkpoint_is_refused(tmp_path: Path, settings: ReproduceSettings, out: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "m")
    (tmp_path / "outer").symlink_to(tmp_path / "m" / "out")
    with pytest.raises(ReproduceError, match=rf"{out} lies in the folder of a checkpoint, {tmp_path / 'm'}: "):
        ReproduceFolder(tmp_path / out).begin(settings)
    assert list((tmp_path / "m").iterdir()) == []


def test_a_folder_in_a_drifted_checkpoint_is_refused(tmp_path: Path, settings: ReproduceSettings) -> None:
    out = tmp_path / "drifted" / "out"
    (out / "drifted").mkdir(parents=True)
    (out / "drifted" / "backdoor-s0").symlink_to(tmp_path / "drifted")
    with pytest.raises(ReproduceError, match=r"lies in the folder of a checkpoint, .*backdoor-s0: "):
        ReproduceFolder(out).begin(settings)
