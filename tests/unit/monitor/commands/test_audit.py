"""``alignd audit`` as a person calls it, on audits that are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from monitor.audits.archive import canonical
from monitor.audits.finish import finish
from monitor.audits.signing import new_key
from monitor.commands.audit_showing import verify
from tests.unit.monitor.audits.audited import audit, result, section
from tests.unit.monitor.command_line import Alignd, called_in

CONFIG = """
key: long-enough-secret
targets: [{name: prod, endpoint: 'http://127.0.0.1:9/v1', model: m}]
audits: {private_key: audit.pem, plans: [{name: monthly, cron: "0 6 1 * *", time_zone: Europe/Berlin}]}
"""
FIRST, SECOND = "prod-20260301-120000", "prod-20260302-120000"


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    monkeypatch.setattr("monitor.audits.finish.pdf_of", lambda page, name: b"%PDF-")
    (tmp_path / "alignd.yaml").write_text(CONFIG)
    (tmp_path / "audit.pub").write_text(new_key(tmp_path / "audit.pem"))
    (tmp_path / "audits").mkdir()
    for number in range(2):
        results = [result(i, positive=i < 3 + 9 * number) for i in range(30)]
        document, outcomes = audit((section(results, max_tokens=512 - number), results), number=number)
        work = tmp_path / "work"
        work.mkdir()
        (work / "audit.json").write_bytes(canonical(document))
        (work / "outcomes.json").write_bytes(canonical(outcomes))
        finish(work, tmp_path / "audits" / document["id"], private_key=tmp_path / "audit.pem")
    return called_in(tmp_path, monkeypatch, capsys, "audit")


def test_audits_are_listed_and_shown(alignd: Alignd) -> None:
    code, out, _ = alignd("show")
    assert code == 0
    assert out.index(SECOND) < out.index(FIRST)
    code, out, _ = alignd("show", FIRST)
    assert (code, "10.0 %" in out, "2.1 to 26.5 %" in out) == (0, True, True)
    code, out, _ = alignd("show", FIRST, "--json")
    assert json.loads(out)["id"] == FIRST
    code, out, _ = alignd("show", "--json")
    assert [a["id"] for a in json.loads(out)] == [SECOND, FIRST]


def test_audits_stand_side_by_side(alignd: Alignd, tmp_path: Path) -> None:
    code, out, err = alignd("show", SECOND, "--compare", FIRST, "--page", "trend.html")
    assert (code, "wrote trend.html" in err) == (0, True)
    assert "another max_tokens" in out
    assert "40.0 %" in out
    assert "<svg" in (tmp_path / "trend.html").read_text()
    code, out, _ = alignd("show", SECOND, "--compare", FIRST, "--json")
    assert [a["id"] for a in json.loads(out)["audits"]] == [FIRST, SECOND]


def test_an_audit_is_verified_by_the_sites_key_and_by_one_that_is_given(alignd: Alignd, tmp_path: Path) -> None:
    assert alignd("show", FIRST, "--verify")[:2] == (0, f"{FIRST}: as it was written and signed\n")
    assert alignd("show", FIRST, "--verify", "--key", "audit.pub")[0] == 0
    (tmp_path / "audits" / FIRST / "audit.json").write_text("{}")
    assert alignd("show", FIRST, "--verify")[:2] == (1, f"{FIRST}: audit.json is not what was written\n")
    assert alignd("show", FIRST, "--verify", "--key", "no.pub")[0] == 2


@pytest.mark.usefixtures("alignd")
def test_an_audit_without_a_signature_is_said_to_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audits" / FIRST / "manifest.sig").unlink()
    with pytest.raises(typer.Exit) as ended:
        verify(tmp_path / "audits" / FIRST, None, None)
    said = "the files are what the manifest says; nobody signed it, so that whoever can write here can have made both"
    assert (ended.value.exit_code, capsys.readouterr().out) == (0, f"{FIRST}: {said}\n")


def test_what_is_planned_is_listed_in_the_plans_own_hours(alignd: Alignd) -> None:
    code, out, _ = alignd("schedule", "--next", "3")
    assert code == 0
    assert [line[8:] for line in out.splitlines()] == ["01 06:00 Europe/Berlin  monthly: prod"] * 3
    planned = json.loads(alignd("schedule", "--json")[1])["planned"]
    assert len(planned) == 10
    assert planned[0]["targets"] == ["prod"]


def test_a_key_is_made_once_and_its_public_half_printed_again(alignd: Alignd, tmp_path: Path) -> None:
    code, out, err = alignd("key", "new.pem")
    assert (code, out.startswith("-----BEGIN PUBLIC KEY-----"), "audits.private_key" in err) == (0, True, True)
    assert alignd("key", "new.pem") == (0, out, "")


@pytest.mark.parametrize(("words", "message"), [
    (("show", "nonsense"), "is no audit"), (("show", "--verify"), "need an audit"),
    (("run", "nobody"), "there are: prod"), (("run", "prod", "--to", "2026-01-01"), "--to needs --from"),
    (("run", "prod", "--from", "x"), "--from x: give a day or a time"),
    (("run", "prod", "--from", "2026-02-02", "--to", "2026-01-01"), "no end after its beginning"),
    (("run", "prod", "--before", "prod-20250101-000000"), "no audit 'prod-20250101-000000'"),
    (("run", "prod", "--before", "x@0123456789ab"), "neither an audit nor a known release"),
])  # fmt: skip
def test_what_can_not_be_is_told(alignd: Alignd, words: tuple[str, ...], message: str) -> None:
    code, out, err = alignd(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_target_that_does_not_answer_is_unavailable(alignd: Alignd) -> None:
    assert alignd("run", "prod")[0] == 4
