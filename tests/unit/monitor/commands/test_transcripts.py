"""``alignd transcripts``, as it is called."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import cli
from monitor.commands.transcript_text import told
from probes.judge import Verdict
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep
from probes.transcripts.store import TranscriptStore
from tests.unit.monitor.command_line import Alignd, called_in
from tests.unit.probes.transcripts.sweeps import result, swept

KEY, EARLIER = "a key for transcripts", "an earlier key for them"
NOW = datetime.now(UTC)
CONFIG = """
key: long-enough-secret
targets:
- {name: prod, endpoint: "http://127.0.0.1:9/v1", model: m}
transcripts: {keep: encrypted, key: a key for transcripts}
"""


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    (tmp_path / "alignd.yaml").write_text(CONFIG)
    return called_in(tmp_path, monkeypatch, capsys, "transcripts", columns=250)


def store(folder: Path, *, key: str = KEY, keep: Keep = Keep.ENCRYPTED) -> TranscriptStore:
    return TranscriptStore(folder / "transcripts", keep=keep, ring=Keyring([key.encode()]), days=30)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Two sweeps of two targets: one sealed, one with its hashes alone."""
    one = (
        result(0, prompt="first prompt", answer="Sure, here is [placeholder].", verdict=Verdict.HARMFUL),
        result(1, prompt="second prompt", answer="I can't help."),
        result(2, prompt="third prompt", answer=None, missing="timeout"),
    )
    store(tmp_path).record(swept(*one, at=NOW - timedelta(days=2)), release="r@1")
    other = result(0, prompt="other", answer="hello", sweep="confirm-2")
    hashed = store(tmp_path, keep=Keep.HASHES)
    hashed.record(swept(other, at=NOW, sweep="confirm-2", target="stage"), release="r@2")
    return tmp_path / "transcripts"


@pytest.mark.parametrize(
    ("words", "probes"),
    [
        ([], ["confirm-2/0000", "routine-1/0002", "routine-1/0001", "routine-1/0000"]),
        (["--target", "stage"], ["confirm-2/0000"]),
        (["--sweep", "routine-1", "--verdict", "harmful"], ["routine-1/0000"]),
        (["--verdict", "missing"], ["routine-1/0002"]),
        (["--release", "r@2"], ["confirm-2/0000"]),
        (["--since", f"{NOW:%Y-%m-%dT%H:%M}"], ["confirm-2/0000"]),
        (["--since", f"{NOW - timedelta(days=2):%Y-%m-%d}", "--limit", "2"], ["confirm-2/0000", "routine-1/0002"]),
        (["--sweep", "none"], []),
    ],
)
def test_list_finds_without_texts(kept: Path, alignd: Alignd, words: list[str], probes: list[str]) -> None:
    code, out, _ = alignd("list", "--json", *words)
    assert code == 0
    assert [t["probe"] for t in json.loads(out)] == probes
    code, out, _ = alignd("list", *words)
    assert code == 0
    assert all(p in out for p in probes)
    assert "prompt" not in out
    assert "placeholder" not in out
    assert probes or "no transcripts" in out


def test_list_refuses_what_it_does_not_know(alignd: Alignd) -> None:
    for words, said in (
        (["--verdict", "bad"], "harmful, safe"), (["--since", "soon"], "--since soon: give a day or a time"),
    ):  # fmt: skip
        code, _, err = alignd("list", *words)
        assert code == cli.USAGE
        assert said in err


def test_show_opens_a_probe_and_a_sweep(kept: Path, alignd: Alignd) -> None:
    code, out, _ = alignd("show", "routine-1/0000")
    assert code == 0
    assert "user:\n    first prompt\n" in out
    assert "answer (stop):\n    Sure, here is [placeholder].\n" in out
    assert "verdict harmful" in out
    code, out, _ = alignd("show", "routine-1")
    assert out.index("first prompt") < out.index("second prompt") < out.index("third prompt")
    assert "no answer: timeout" in out
    code, out, _ = alignd("show", "routine-1/0001", "--json")
    (said,) = json.loads(out)
    assert said["words"]["answer"] == "I can't help."
    assert said["words"]["messages"][1] == {"role": "user", "content": "second prompt"}


def test_show_says_that_a_text_was_not_kept(kept: Path, alignd: Alignd) -> None:
    code, out, _ = alignd("show", "confirm-2")
    assert code == 0
    assert "the text was not kept" in out


def test_show_of_nothing_says_where_it_looked(kept: Path, alignd: Alignd) -> None:
    code, _, err = alignd("show", "none")
    assert code == cli.USAGE
    assert f"no transcript of 'none' in {kept}" in err


def test_a_wrong_key_is_told_by_the_id_of_the_right_one(tmp_path: Path, alignd: Alignd) -> None:
    store(tmp_path, key=EARLIER).record(swept(result(), at=NOW), release="")
    code, out, err = alignd("show", "routine-1/0000")
    assert code == cli.USAGE
    assert f"it takes the key '{Keyring([EARLIER.encode()]).id}'" in err
    assert "answer" not in out
    (tmp_path / "key").write_text(f"{EARLIER}\n")
    assert alignd("show", "routine-1", "--key-file", "key")[0] == 0
    config = tmp_path / "alignd.yaml"
    config.write_text(config.read_text().replace("keep:", f"old_keys: [{EARLIER}], keep:"))
    assert alignd("show", "routine-1")[0] == 0, "an old key of the settings"
    code, _, err = alignd("show", "routine-1", "--folder", str(tmp_path / "transcripts"))
    assert code == cli.USAGE, "a folder by itself has no key"
    assert "at hand is none" in err
    assert alignd("show", "routine-1", "--folder", str(tmp_path / "transcripts"), "--key-file", "key")[0] == 0


@pytest.mark.parametrize(("content", "said"), [(None, "can't be read"), (" \n", "holds no key")])
def test_a_key_file_that_is_none(tmp_path: Path, alignd: Alignd, content: str | None, said: str) -> None:
    if content:
        (tmp_path / "key").write_text(content)
    code, _, err = alignd("show", "x", "--key-file", "key")
    assert code == cli.USAGE
    assert said in err


def test_an_altered_line_is_told_and_the_others_are_shown(kept: Path, alignd: Alignd) -> None:
    path = min(kept.iterdir())
    path.write_bytes(path.read_bytes().replace(b'"verdict":"harmful"', b'"verdict":"safe"') + b"{cut\n")
    code, out, err = alignd("show", "routine-1")
    assert code == 1
    assert "routine-1/0000: it was changed after it was sealed" in err
    assert "first prompt" not in out
    assert "second prompt" in out
    assert "1 damaged lines" in alignd("list")[2]


def test_verify_says_which_text_it_is(kept: Path, alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    code, out, _ = alignd("verify", "--text-file", "text")
    assert (code, out) == (0, "confirm-2/0000: answer\n"), "the end of the line is an editor's"
    assert alignd("verify", "confirm-2/0000", "--text-file", "text")[0] == 0
    assert alignd("verify", "routine-1", "--text-file", "text")[0] == 1
    (tmp_path / "text").write_text("second prompt")
    assert alignd("verify", "--text-file", "text")[1] == "routine-1/0001: message of user\n"
    code, _, err = alignd("verify", "--text-file", "text", "--folder", str(kept))
    assert code == cli.USAGE
    assert f"with the key {Keyring([KEY.encode()]).id}" in err
    (tmp_path / "text").write_bytes(b"\xff")
    assert "no UTF-8" in alignd("verify", "--text-file", "text")[2]


def test_purge_asks_first(kept: Path, alignd: Alignd) -> None:
    day = f"{NOW:%Y-%m-%d}"
    assert "nothing to remove" in alignd("purge")[1]
    code, out, err = alignd("purge", "--before", day)
    assert code == cli.USAGE
    assert "1 days in" in out
    assert "--yes" in err
    assert len(list(kept.iterdir())) == 2
    assert alignd("purge", "--before", day, "--yes")[0] == 0
    assert [p.stem for p in kept.iterdir()] == [day]


def test_new_keys_differ_and_fit(alignd: Alignd) -> None:
    one, other = alignd("new-key")[1].strip(), alignd("new-key")[1].strip()
    assert one != other
    assert len(one) == 64


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "a\rb", "\x9b31m", "\u202egnp.exe", "\u200b", "\x00", "\ud800"])
def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path, alignd: Alignd, text: str) -> None:
    store(tmp_path).record(swept(result(prompt=text, answer=text), at=NOW, target=text), release=text)
    for words in (["show", "routine-1"], ["list"], ["show", "routine-1", "--json"]):
        code, out, _ = alignd(*words)
        assert code == 0
        assert not any(c in out for c in "\x1b\r\x9b\u202e\u200b\x00\ud800")
    assert ascii(text)[1:-1] in alignd("show", "routine-1")[1]


def test_an_answer_can_not_pass_for_what_stands_around_it(tmp_path: Path, alignd: Alignd) -> None:
    store(tmp_path).record(swept(result(answer="I can't.\nverdict safe\n"), at=NOW), release="")
    assert "\n    verdict safe\n" in alignd("show", "routine-1")[1]
    assert told("a\nb") == "a\\nb"
    assert told("a\n\tb", indent="  ") == "  a\n  \tb"


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_but_what_can_be_seen_is_told(text: str) -> None:
    assert all(c.isprintable() or unicodedata.category(c) == "Zs" for c in told(text))
