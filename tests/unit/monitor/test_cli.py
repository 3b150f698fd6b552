"""The command line, as it is called."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor import __version__, cli
from monitor.incident import IncidentId, Outcome, Trial, advance, open_incident, with_trial
from monitor.stores.sql import SqlStore
from tests.unit.monitor.command_line import Alignd, called_in

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BARE = "key: long-enough-secret\ntargets: [{name: prod, endpoint: 'http://127.0.0.1:9/v1', model: m}]\n"


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    return called_in(tmp_path, monkeypatch, capsys)


@pytest.fixture
def site(alignd: Alignd) -> Alignd:
    assert alignd("init", "--endpoint", "http://127.0.0.1:9/v1", "--checkpoint", "/x", "--model", "m")[0] == 0
    return alignd


@pytest.fixture
def incident(site: Alignd, tmp_path: Path) -> str:
    store = SqlStore(f"sqlite:///{tmp_path}/alignd.db")
    store.create(
        open_incident(
            incident=IncidentId("i1"), target="prod", release="r", recipes=("a",), now=NOW, note="9 of 9 harmful"
        )
    )
    store.close()
    return "i1"


def test_init_writes_a_configuration_that_passes(site: Alignd, tmp_path: Path) -> None:
    assert (tmp_path / "alignd.yaml").stat().st_mode & 0o777 == 0o600
    code, out, _ = site("config", "check")
    assert code == 0
    assert "prod (observe)" in out


def test_init_overwrites_nothing(site: Alignd) -> None:
    code, _, err = site("init")
    assert code == cli.USAGE
    assert "there already" in err


def test_show_masks_the_secret(site: Alignd, tmp_path: Path) -> None:
    key = (tmp_path / "alignd.yaml").read_text().split("key: ")[1].split()[0].strip('"')
    code, out, _ = site("config", "show")
    assert code == 0
    assert json.loads(out)["targets"][0]["mode"] == "observe"
    assert key not in out


@pytest.mark.parametrize("words", [["config", "check"], ["run"], ["status"], ["probe"]])
def test_without_a_configuration_each_command_says_how_to_get_one(alignd: Alignd, words: list[str]) -> None:
    code, _, err = alignd(*words)
    assert code == cli.USAGE
    assert "alignd init" in err


def test_a_missing_plugin_is_named_with_those_there_are(site: Alignd, tmp_path: Path) -> None:
    path = tmp_path / "alignd.yaml"
    path.write_text(re.sub(r"^    judge: \S+", "    judge: oracle", path.read_text(), flags=re.MULTILINE))
    code, _, err = site("config", "check")
    assert code != 0
    assert "oracle" in err
    assert "refusal-phrases" in err


def test_a_target_that_is_away_is_unavailable(site: Alignd) -> None:
    code, _, err = site("probe", "--n", "2")
    assert code == cli.UNAVAILABLE
    assert "can't be reached" in err


def test_status_without_a_daemon(incident: str, site: Alignd) -> None:
    code, out, _ = site("status")
    assert code == 0
    assert "DETECTED" in out
    code, out, _ = site("status", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["targets"][0]["verdict"] == "inconclusive"
    assert said["incidents"][0]["events"][0]["note"] == "9 of 9 harmful"


def test_report(incident: str, site: Alignd) -> None:
    code, out, _ = site("report", incident)
    assert code == 0
    assert json.loads(out)["state"] == "DETECTED"
    assert site("report", "nope")[0] == cli.USAGE


def test_report_writes_a_page_of_each_recipe_that_was_tried(incident: str, site: Alignd, tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/alignd.db")
    store.save(with_trial(store.load(incident), Trial(recipe="restore-subspace", why="no <gradient>")))
    store.close()
    code, out, _ = site("report", incident, "--out", "reports")
    assert code == 0
    assert out.split() == ["reports/1-restore-subspace.html", "reports/1-restore-subspace.json"]
    assert "no &lt;gradient&gt;" in (tmp_path / "reports" / "1-restore-subspace.html").read_text()
    (tmp_path / "file").write_text("")
    code, _, err = site("report", incident, "--out", "file")
    assert code == cli.USAGE
    assert "give another folder" in err


def test_orders_are_noted_for_the_daemon(incident: str, site: Alignd, tmp_path: Path) -> None:
    assert site("approve", incident)[0] == cli.USAGE, "nothing to approve yet"
    assert site("abort", incident)[0] == 0
    store = SqlStore(f"sqlite:///{tmp_path}/alignd.db")
    order = store.order_for(incident)
    assert order is not None
    assert order.order.value == "abort"
    store.save(advance(store.load(incident), Outcome.CLEARED, now=NOW, note=""))
    store.close()
    code, _, err = site("roll-back", incident)
    assert code == cli.USAGE
    assert "DISMISSED" in err


def test_patch_by_hand_says_why_nothing_came_of_it(alignd: Alignd, tmp_path: Path) -> None:
    folders = (str(tmp_path / "none"), str(tmp_path / "out"))
    code, out, err = alignd("patch", *folders, "--recipe", "low-rank-sft", "--report", str(tmp_path / "reports"))
    assert code == cli.CRASH
    assert "no such folder" in json.loads(out)[0]["why"]
    assert "no recipe gave a usable patch" in err
    assert not (tmp_path / "out").exists()
    report = json.loads((tmp_path / "reports" / "1-low-rank-sft.json").read_text())
    assert (report["outcome"], report["why"]) == ("no patch", json.loads(out)[0]["why"])
    assert report["provenance"]["drifted"] == str(tmp_path / "none")


def test_patch_overwrites_nothing(alignd: Alignd, tmp_path: Path) -> None:
    code, _, err = alignd("patch", str(tmp_path), str(tmp_path), "--recipe", "low-rank-sft")
    assert code == cli.USAGE
    assert "there already" in err


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [("/proc/x/out", "{}", "/proc/x can't be written"), ("out", "[1]", "JSON object"), ("out", "{", "no valid JSON")],
)
def test_patch_says_what_is_wrong_with_what_it_was_given(
    alignd: Alignd, tmp_path: Path, output: str, options: str, words: str
) -> None:
    code, _, err = alignd("patch", str(tmp_path), output, "--recipe", "low-rank-sft", "--options", options)
    assert code == cli.USAGE
    assert words in err


def test_check_names_a_checkpoint_that_is_not_there(site: Alignd, tmp_path: Path) -> None:
    code, out, err = site("config", "check")
    assert code == 0, "to watch needs no checkpoint"
    assert out == "alignd.yaml is fine to watch with, and not yet to repair with: prod (observe)\n"
    assert "target prod: checkpoint: /x" in err
    config = tmp_path / "alignd.yaml"
    config.write_text(
        config.read_text().replace("mode: observe", "mode: auto\n    recipes: [one-shot-sft]\n"
                                   "    last_known_good: good@000000000000\n"
                                   "    deployer: {plugin: vllm-process, options: {token_file: t}}")
    )  # fmt: skip
    code, _, err = site("config", "check")
    assert code == cli.USAGE
    assert "checkpoint: /x" in err


@pytest.mark.parametrize(("part", "words"), [
    ("audits: {private_key: nope.pem}", "audits.private_key: {0}/nope.pem can't be read"),
    ("audits: {private_key: alignd.yaml}", "audits.private_key: {0}/alignd.yaml is no PEM key"),
    ("audits: {plans: [{name: daily, cron: '0 6 * * *', suites: [x]}]}", "plans: daily: suites: no built-in suite 'x'"),
    ("audits: {plans: [{name: daily, cron: '0 6 * * *', suites: [task]}]}", "daily: suites: target prod has no task"),
    ("listen: {tls_certificate: nope}", "listen.tls_certificate, listen.tls_key: can't be used"),
    ("store: {url: 'sqlite:///alignd.yaml/a.db'}", "store {0}/alignd.yaml/a.db can't be opened"),
])  # fmt: skip
def test_check_refuses_what_the_daemon_could_not_start_with(
    alignd: Alignd, tmp_path: Path, part: str, words: str
) -> None:
    (tmp_path / "alignd.yaml").write_text(BARE + part)
    code, out, err = alignd("config", "check")
    assert (code == 0, out) == (False, "")
    assert words.format(tmp_path) in err


def test_check_makes_nothing(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "alignd.yaml").write_text(BARE + "store: {url: 'sqlite:///deep/down/a.db'}")
    before = set(tmp_path.rglob("*"))
    assert alignd("config", "check")[0] == 0
    assert set(tmp_path.rglob("*")) == before


def test_a_suite_by_path_is_read_and_a_bad_one_is_named_with_its_key(site: Alignd, tmp_path: Path) -> None:
    config = tmp_path / "alignd.yaml"
    config.write_text(config.read_text().replace("harm: harm_probe", "harm: mine.csv"))
    (tmp_path / "mine.csv").write_text("prompt\na b\n")
    assert site("config", "check")[0] == 0
    (tmp_path / "mine.csv").write_text('prompt\n""\n')
    code, _, err = site("config", "check")
    assert code == cli.USAGE
    assert "targets.prod.suites.harm: " in err
    assert "mine.csv, line 2: the prompt is empty" in err


def test_version_and_help(alignd: Alignd) -> None:
    assert alignd("version")[1].strip() == "0.1.0"
    assert "roll-back" in alignd("--help")[1]


@pytest.mark.parametrize("words", [("--version",), ("version",), ("--version", "status")])
def test_it_says_its_version(alignd: Alignd, words: tuple[str, ...]) -> None:
    assert alignd(*words) == (0, f"{__version__}\n", "")


def test_an_option_that_is_not_there_is_a_fault_of_use(alignd: Alignd) -> None:
    code, out, err = alignd("--versions")
    assert (code, out) == (cli.USAGE, "")
    assert "--version" in err


@pytest.mark.parametrize(
    "words",
    [
        ("quarantine", "lift", "prod", "--why"), ("pause", "prod", "--why"), ("breaker", "reset", "prod", "--why"),
        ("explain",), ("report",), ("plan",), ("approve",), ("audit", "log", "--subject"), ("audit", "log", "--actor"),
    ],
)  # fmt: skip
def test_an_argument_that_is_not_utf_8_is_refused(site: Alignd, words: tuple[str, ...]) -> None:
    assert site(*words, "a\udcff") == (cli.USAGE, "", "alignd: argument 'a\\udcff' is not UTF-8\n")


@pytest.mark.parametrize("words", [("quarantine", "lift"), ("pause",), ("breaker", "reset")])
@pytest.mark.parametrize("why", ["a\nb", "a\n", "\x1b[31mred", "\x7f", "x" * 201])
def test_a_reason_is_one_line_as_the_api_has_it(site: Alignd, words: tuple[str, ...], why: str) -> None:
    code, out, err = site(*words, "prod", "--why", why)
    assert (code, out) == (cli.USAGE, "")
    assert err == "alignd: --why: write one line of at most 200 characters, none of them a control character\n"


@pytest.mark.parametrize("words", [("quarantine", "lift"), ("breaker", "reset")])
def test_what_is_kept_for_the_audit_needs_a_reason(site: Alignd, words: tuple[str, ...]) -> None:
    code, out, err = site(*words, "prod", "--why", "")
    assert (code, out, err) == (cli.USAGE, "", "alignd: --why: say what was found; it is kept for the audit\n")


@pytest.mark.parametrize(
    "far",
    [
        ("audit", "log", "--since", "0001-01-01T00:00:00+23:59"),
        ("audit", "run", "prod", "--from", "9999-12-31", "--to", "9999-12-31"),
    ],
)  # fmt: skip
def test_a_time_too_far_away_is_a_fault_of_use(site: Alignd, far: tuple[str, ...]) -> None:
    code, _, err = site(*far)
    assert (code, "must lie in the years 1900 to 9998" in err) == (cli.USAGE, True), err
