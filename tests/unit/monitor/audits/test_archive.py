from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.errors import StoreInUse
from monitor.audits.archive import Archive, canonical
from monitor.audits.request import AuditRequest, Period
from monitor.errors import ConfigError
from tests.unit.monitor.audits.audited import NOW

REQUEST = AuditRequest(
    id="prod-20260301-120000", target="prod", began_at=NOW, suites=("harm",), seed=3, before="x@0123456789ab",
    period=Period(begin=NOW - timedelta(days=2), end=NOW), scheduled="monthly",
)  # fmt: skip


def put(folder: Path, audit: str, **content: object) -> None:
    (folder / audit).mkdir(parents=True)
    (folder / audit / "audit.json").write_text(json.dumps({"format": "alignd-audit/1", **content}))


def test_audits_are_listed_newest_first_by_target(tmp_path: Path) -> None:
    for name in ("a-20260101-000000", "b-c-20260301-000000", "a-20260201-000000"):
        put(tmp_path, name)
    (tmp_path / "not-one").mkdir()
    archive = Archive(tmp_path)
    assert archive.ids() == ("b-c-20260301-000000", "a-20260201-000000", "a-20260101-000000")
    assert archive.ids("a") == ("a-20260201-000000", "a-20260101-000000")
    assert archive.ids("b") == ()


def test_one_way_of_writing() -> None:
    assert canonical({"b": 1, "a": [0.5, None]}) == b'{"a":[0.5,null],"b":1}\n'
    with pytest.raises(ValueError, match="Out of range"):
        canonical(float("nan"))


@pytest.mark.parametrize("name", ["../etc-20260101-000000", "x", "prod-20260101-000000/..", ""])
def test_a_name_can_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no audit"):
        Archive(tmp_path).read(name)


def test_what_is_not_there_or_of_another_version_is_told(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    with pytest.raises(ConfigError, match="no audit 'prod-20260101-000000'"):
        archive.read("prod-20260101-000000")
    put(tmp_path, "prod-20260101-000000", format="alignd-audit/9")
    with pytest.raises(ConfigError, match="no audit of this version"):
        archive.read("prod-20260101-000000")
    (tmp_path / "prod-20260101-000000" / "audit.json").write_text("{")
    with pytest.raises(ConfigError, match="put a copy back"):
        archive.read("prod-20260101-000000")


def test_what_was_begun_is_found_again_and_can_be_dropped(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "audits")
    assert archive.unfinished() == ()
    with archive.alone():
        assert archive.begin(REQUEST) == REQUEST
        work = archive.work(REQUEST)
        assert archive.unfinished() == (REQUEST,)
        assert work.stat().st_mode & 0o077 == 0, "its owner's alone"
        with pytest.raises(StoreInUse), archive.alone():
            pass
    archive.drop(REQUEST)
    assert archive.unfinished() == ()
    assert not work.exists()


def test_outcomes_may_stay_at_the_site(tmp_path: Path) -> None:
    put(tmp_path, "prod-20260101-000000")
    assert Archive(tmp_path).outcomes("prod-20260101-000000") == ()


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"set audits\.folder"), Archive(tmp_path / "file" / "audits").alone():
        pass
