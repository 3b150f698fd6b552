"""Every attack that is installed keeps its port, and its golden messages."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import PluginError
from monitor.plugins import make_plugin
from probes.attacks.encoding import encode
from probes.probe import Message
from probes.suites import builtin
from probes.testing import check_attack
from tests.unit.probes.attack_cases import CASES, NAMES, PROMPTS, behavior, fixed, made

GOLDEN = Path(__file__).parent / "golden" / "attacks.json"
ROOT = Path(__file__).resolve().parents[3]
SEEDS = range(4)
QUOTES = sorted(set(NAMES) - {"encoding", "paraphrase", "past-tense", "trigger"})
"""Attacks whose messages hold the prompt as it is."""

OTHER_OPTIONS = {
    "direct": {"system_prompt": "Be kind."},
    "encoding": {"encodings": ["base64"]},
    "follow-up": {"system_prompt": "Be kind."},
    "language": {"reply": "language"},
    "many-shot": {"shots": 3},
    "paraphrase": {"system_prompt": "Be kind."},
    "past-tense": {"system_prompt": "Be kind."},
    "prefill": {"opening": "Of course."},
    "prefix-injection": {"opening": "Of course."},
    "role-play": {"system_prompt": "Be kind."},
    "suffix": {"system_prompt": "Be kind."},
    "trigger": {"places": ["end"]},
}


def digest(messages: tuple[Message, ...]) -> str:
    return hashlib.sha256(json.dumps([[m.role, m.content] for m in messages]).encode()).hexdigest()[:16]


def golden() -> dict[str, dict[str, object]]:
    """What each attack of fixed texts sends: its own digest, and that of the messages of each case and seed."""
    found: dict[str, dict[str, object]] = {}
    for name in NAMES:
        attack = fixed(name)
        sent = [digest(attack.messages(case, seed=seed)) for case in CASES for seed in SEEDS]
        found[name] = {"sha256": attack.sha256, "sent": sent}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_keeps_its_port(name: str, tmp_path: Path) -> None:
    attack = made(name, tmp_path)
    assert attack.name == name
    for suite in ("dsafe", "benign_edge", "ordinary"):
        check_attack(attack, builtin(suite).behaviors)
    check_attack(attack, CASES, seeds=range(30))


def test_no_attack_changes_its_messages_under_the_same_digest() -> None:
    """Where it fails: raise the version in the attack's ``sha256``, then ``python -m tests.unit.probes.test_attacks``.

    The file was written by another process with another ``PYTHONHASHSEED``, on which nothing may depend.
    """
    assert golden() == json.loads(GOLDEN.read_text())


def test_nothing_depends_on_the_process() -> None:
    code = "import json; from tests.unit.probes.test_attacks import golden; print(json.dumps(golden()))"
    said = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]


@pytest.mark.parametrize("name", sorted(OTHER_OPTIONS))
def test_the_digest_follows_the_options(name: str, tmp_path: Path) -> None:
    usual = made(name, tmp_path)
    assert usual.sha256 == made(name, tmp_path).sha256
    assert usual.sha256 != made(name, tmp_path, **OTHER_OPTIONS[name]).sha256


@pytest.mark.parametrize("name", NAMES)
def test_a_label_may_be_set_and_decides_no_messages(name: str, tmp_path: Path) -> None:
    usual, labelled = made(name, tmp_path), made(name, tmp_path, name="mine-2")
    assert (labelled.name, labelled.sha256) == ("mine-2", usual.sha256)
    assert all(labelled.messages(c, seed=7) == usual.messages(c, seed=7) for c in CASES)


def test_digests_differ_between_attacks(tmp_path: Path) -> None:
    assert len({made(name, tmp_path).sha256 for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"system-prompt"}))
def test_the_deployments_own_system_prompt_goes_first(name: str, tmp_path: Path) -> None:
    bare = made(name, tmp_path).messages(CASES[0], seed=3)
    first, *rest = made(name, tmp_path, system_prompt="Be kind.").messages(CASES[0], seed=3)
    assert (first.role, first.content) == ("system", "Be kind.")
    assert tuple(rest) == bare


@settings(max_examples=80, deadline=None)
@given(prompt=PROMPTS, seed=st.integers(0, 2**31 - 1), opening=st.text(max_size=20), category=st.text(max_size=80))
@pytest.mark.parametrize("name", NAMES)
def test_any_prompt_survives(name: str, prompt: str, seed: int, opening: str, category: str) -> None:
    attack = fixed(name)
    asked = behavior(prompt, opening=opening, category=category)
    messages = attack.messages(asked, seed=seed)
    check_attack(attack, [asked], seeds=[seed])
    last = [m.content for m in messages if m.role == "user"][-1]
    if name in QUOTES:
        assert prompt in last
    elif name == "encoding":
        assert any(last.endswith("\n\n" + encode(prompt, encoding)) for encoding in attack.encodings)  # type: ignore[attr-defined]
    elif name == "trigger":
        assert any(last.replace(f"{t} ", "", 1) == prompt or last == f"{prompt} {t}" for t in attack.triggers)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("prefill", {"opening": " "}, "opening"),
        ("prefix-injection", {"opening": ""}, "opening"),
        ("many-shot", {"shots": 0}, "shots"),
        ("many-shot", {"shots": 201}, "shots"),
        ("many-shot", {"form": "song"}, "form"),
        ("encoding", {"encodings": []}, "encodings"),
        ("encoding", {"encodings": ["enigma"]}, "encodings"),
        ("language", {"languages": ["xx"]}, "languages"),
        ("suffix", {}, "file: field required"),
        ("suffix", {"file": "no-such.txt"}, "no-such.txt: there is no such file; check the path"),
        ("trigger", {"built_in": False}, "set file, or built_in: true"),
        ("trigger", {"places": []}, "places"),
        ("direct", {"name": "Two words"}, "name"),
        ("system-prompt", {"system_prompt": "x"}, "extra inputs"),
        ("role-play", {"file": "a\0b"}, "check the path"),
        ("follow-up", {"file": "."}, "there is no such file"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make_plugin("alignd.attacks", name, options, where="attack")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
