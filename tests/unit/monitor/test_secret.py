"""Secrets: written out, in a variable, in a file; never shown."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from monitor.errors import ConfigError, PluginError
from monitor.plugins import make_plugin
from monitor.secret import Secret, anchored, masked, may_hold_secret
from monitor.settings import Settings, load_settings
from probes.plugins import installed

CANARY, NUMBER = "hunter2secret", 271828182845
"""Short, and of no digest's form: what people put where a secret goes."""
GROUPS = tuple(f"alignd.{g}" for g in ("attacks", "deployers", "judges", "notifiers", "patchers", "targets", "tasks"))


def secret_paths(annotation: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401
    """List where secrets stand in a type: of a list the first, of a mapping one."""
    if annotation is SecretStr:
        yield path
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from secret_paths(field.annotation, (*path, name)) if field.repr else [(*path, name)]
    else:
        inside = {tuple: (0,), list: (0,), dict: ("any",)}.get(getattr(annotation, "__origin__", None), ())
        for part in get_args(annotation):
            yield from secret_paths(part, (*path, *inside))


def nested(path: tuple[str | int, ...], value: object) -> Any:  # noqa: ANN401
    for part in reversed(path):
        value = [value] if part == 0 else {part: value}
    return value


PATHS = sorted(set(secret_paths(Settings)), key=str)
PLUGINS = sorted((group, name) for group in GROUPS for name in installed(group))


class Model(BaseModel):
    word: Secret


def test_a_secret_is_kept_in_one_of_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "word").write_text("in a file\n")
    monkeypatch.setenv("A_WORD", "in a variable")
    options = anchored({"word": {"file": "word"}}, tmp_path)
    found = [
        Model.model_validate(given).word.get_secret_value()
        for given in ({"word": "written out"}, {"word": {"env": "A_WORD"}}, options)
    ]
    assert found == ["written out", "in a variable", "in a file"]
    assert "written out" not in repr(Model.model_validate({"word": "written out"}))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"env": "NOT_SET"}, "no variable NOT_SET"), ({"file": "/nowhere"}, "/nowhere can't be read"),
        ({"file": "/dev/null"}, "is empty"), ({"vault": "x"}, "write the secret out"), ({}, "write the secret out"),
        ({"env": "A", "file": "B"}, "write the secret out"), ({"env": 1}, "write the secret out"),
    ],
)  # fmt: skip
def test_a_place_that_holds_none_is_named(given: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Model.model_validate({"word": given})


def test_options_are_shown_without_their_texts() -> None:
    options = {"url": "https://hook/T0", "port": 1, "tls": True, "secrets": ["a", {"env": "B"}], "more": {"to": "x@y"}}
    stars = "**********"
    shown = {"url": stars, "port": 1, "tls": True, "secrets": [stars, {"env": "B"}], "more": {"to": stars}}
    assert masked(options) == shown


def test_the_settings_hold_the_secrets_that_they_are_known_to_hold() -> None:
    known = {
        ("key",), ("hooks", "alertmanager", "secret"), ("api", "tokens", 0, "sha256"), ("store", "url"),
        ("targets", 0, "api_key"), ("signing", "password"), ("tracing", "headers", "any"), ("transcripts", "key"),
        ("transcripts", "old_keys", 0),
    }  # fmt: skip
    assert known <= set(PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: ".".join(map(str, p)))
def test_no_fault_of_the_settings_shows_a_secret(path: tuple[str | int, ...], tmp_path: Path) -> None:
    file = tmp_path / "alignd.yaml"
    wrong = [nested(path, NUMBER), nested(path, [CANARY]), nested(path, {CANARY: CANARY, "b": NUMBER})]
    above = [nested(path[:depth], CANARY) for depth in range(1, len(path))]
    beside = nested((*path[:-1], f"{path[-1]}s"), CANARY)
    for data in (*wrong, *above, beside, nested(path, "x")):
        file.write_text(yaml.safe_dump(data))
        with pytest.raises(ConfigError) as caught:
            load_settings(file)
        said = str(caught.value).replace(f".{CANARY}", "")  # a key's name is no value
        assert CANARY not in said, data
        assert str(NUMBER) not in said, data
        assert "given: 'x'" not in said, data


@pytest.mark.parametrize("text", [f"key: '{CANARY}", f"key: @{CANARY}", f"key: a: {CANARY}", f"key: [{CANARY}"])
def test_no_fault_of_the_form_shows_a_secret(text: str, tmp_path: Path) -> None:
    (tmp_path / "alignd.yaml").write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=r"no valid YAML: .* \(line \d, column \d+\)") as caught:
        load_settings(tmp_path / "alignd.yaml")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("group", "name"), PLUGINS)
def test_no_plugin_shows_a_secret(group: str, name: str) -> None:
    options = importlib.import_module(installed(group)[name]).Options
    for path in set(secret_paths(options)):
        for wrong in (NUMBER, [CANARY], {CANARY: CANARY, "b": NUMBER}, f"{CANARY}\n\x7f"):
            given = {**nested(path, wrong), "no such option": CANARY}
            with pytest.raises(PluginError) as caught:
                make_plugin(group, name, given, where="here")
            said = str(caught.value).replace(f".{CANARY}", "")
            assert CANARY not in said, given
            assert str(NUMBER) not in said, given


def test_options_of_plugins_may_be_secrets() -> None:
    assert may_hold_secret(dict[str, Any])
    assert not may_hold_secret(dict[str, int | None])
