"""`alignd token new`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from monitor.api_settings import ApiSettings, Scope
from monitor.web.access import digest_of, well_formed
from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    return called_in(tmp_path, monkeypatch, capsys, "token")


def test_it_prints_the_token_once_and_the_line_for_the_settings(call: Alignd) -> None:
    code, out, _ = call("new", "oncall", "--scope", "read", "--scope", "approve", "--days", "90")
    token, *_, line = out.splitlines()
    assert (code, well_formed(token), out.count(token)) == (0, True, 1)
    (kept,) = ApiSettings.model_validate({"tokens": yaml.safe_load(line)}).tokens
    assert (kept.name, kept.sha256, kept.scopes) == ("oncall", digest_of(token), (Scope.READ, Scope.APPROVE))
    assert kept.expires is not None
    assert timedelta(days=89) < kept.expires - datetime.now(UTC) <= timedelta(days=90)


def test_a_token_reads_for_good_where_nothing_else_is_said(call: Alignd) -> None:
    (kept,) = ApiSettings.model_validate({"tokens": yaml.safe_load(call("new", "a")[1].splitlines()[-1])}).tokens
    assert (kept.scopes, kept.expires) == ((Scope.READ,), None)


@pytest.mark.parametrize("name", ["alignd", "anonymous", "signed-webhook"])
def test_a_token_is_not_named_like_the_daemons_own_actors(call: Alignd, name: str) -> None:
    code, out, err = call("new", name)
    assert (code, out) == (2, "")
    assert "the audit log calls no person so" in err


def test_a_token_ends_within_a_century(call: Alignd) -> None:
    code, out, err = call("new", "a", "--days", "99999999")
    assert (code, out) == (2, "")
    assert "36500" in err


def test_a_name_that_the_settings_would_refuse_is_refused(call: Alignd) -> None:
    code, out, err = call("new", "On Call")
    assert (code, out) == (2, "")
    assert "lower-case letters" in err
