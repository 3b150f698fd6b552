"""Secrets: written out, in a variable, in a file; never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from monitor.secret import Secret, anchored, masked


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
