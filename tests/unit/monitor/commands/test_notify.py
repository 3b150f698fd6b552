"""``alignd notify test``: see whether people would be told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.receiver import Receiver, answer, receiving
from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    call = called_in(tmp_path, monkeypatch, capsys)
    assert call("init", "--checkpoint", "/x", "--model", "m")[0] == 0
    return call


@contextmanager
def hook(*answers: bytes) -> Iterator[Receiver]:
    """A receiver beside the command, which has a loop of its own."""
    ready, done = threading.Event(), threading.Event()
    found: list[Receiver] = []

    async def listen() -> None:
        async with receiving(*answers) as receiver:
            found.append(receiver)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        done.set()
        thread.join(10)


def add(folder: Path, *channels: object) -> None:
    path = folder / "alignd.yaml"
    path.write_text(f"{path.read_text()}\nnotifications: {json.dumps(channels)}\n")


def test_every_channel_is_tried_and_the_exit_code_says_whether_all_took_it(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "address").write_text("")
    with hook(answer(200, "ok"), answer(500)) as receiver:
        (tmp_path / "address").write_text(receiver.url + "\n")
        add(
            tmp_path, {"name": "team", "plugin": "slack", "options": {"url": {"file": "address"}}},
            {"name": "page", "plugin": "webhook", "options": {"url": receiver.url, "secrets": ["0123456789abcdef"]}},
        )  # fmt: skip
        code, out, _ = alignd("notify", "test")
        assert (code, out) == (4, "team: taken\npage: not taken: 127.0.0.1 answered 500\n")
        assert alignd("notify", "test", "page")[:2] == (0, "page: taken\n")
        said = [json.loads(r.body) for r in receiver.got]
    assert said[0]["text"] == ":white_check_mark: test of channel team"
    assert (said[1]["kind"], said[1]["id"] != said[2]["id"]) == ("test", True)


def test_secrets_are_masked_and_places_of_secrets_are_not(alignd: Alignd, tmp_path: Path) -> None:
    add(tmp_path, {"name": "team", "plugin": "slack", "options": {"url": "https://hooks.test/T0KEN"}},
        {"name": "other", "plugin": "slack", "options": {"url": {"file": "address"}}})  # fmt: skip
    code, out, _ = alignd("config", "show")
    assert code == 0
    assert "T0KEN" not in out
    assert str(tmp_path / "address") in out.replace("\n", "")


@pytest.mark.parametrize(
    ("channels", "words", "said"),
    [
        ([], ["test"], "notifications: there are none"),
        ([{"name": "team", "plugin": "slack"}], ["test", "page"], "no channel 'page'; there are: team"),
        ([{"name": "team", "plugin": "pigeon"}], ["test"], "notifications.team: no plugin 'pigeon'"),
        ([{"name": "team", "plugin": "slack"}], ["test"], "notifications.team: plugin slack refuses its options: url"),
    ],
)
def test_what_cannot_be_tried_is_named(
    alignd: Alignd, tmp_path: Path, channels: list[object], words: list[str], said: str
) -> None:
    if channels:
        add(tmp_path, *channels)
    code, _, err = alignd("notify", *words)
    assert code == 2
    assert said in err
