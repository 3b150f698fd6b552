"""What the documentation says is there: commands, options, links and examples.

A line that starts with ``$ `` in a ``console`` block is a command. Each is checked for what it names; those of a
``console run`` block are also run, one after another, in a folder of their own. ``python`` blocks are run too.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)( run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    page: Path
    number: int
    language: str
    run: bool
    text: str

    @property
    def commands(self) -> list[list[str]]:
        lines = [line[2:] for line in self.text.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
        return [shlex.split(line, comments=True) for line in lines]


def blocks() -> list[Block]:
    return [
        Block(page=page, number=i, language=m[1], run=bool(m[2]), text=m[3])
        for page in PAGES
        for i, m in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8")))
    ]


def label(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.number}"


def alignd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-m", "monitor", *arguments], cwd)


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(cwd), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


def _options(words: list[str]) -> list[str]:
    return [w.split("=")[0] for w in words if w.startswith("--")]


def _is_there(words: list[str], cwd: Path) -> None:
    program, rest = words[0], words[1:]
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert [w for w in rest if "=" not in w] == [w for w in rest if w in targets]
    elif program == "alignd":
        help_text = alignd(*[w for w in rest[:2] if re.fullmatch(r"[a-z][a-z-]*[a-z]", w)], "--help", cwd=cwd)
        assert help_text.returncode == 0, help_text.stderr
        assert all(o in help_text.stdout for o in _options(rest)), help_text.stdout
    elif program == "python" and rest[0] == "-m":
        assert find_spec(rest[1]), rest[1]
        said = _run([sys.executable, "-m", rest[1], "--help"], cwd).stdout if _options(rest[2:]) else ""
        assert all(o in said for o in _options(rest[2:])), said
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        named = re.findall(r"\[([\w,]+)\]", " ".join(rest))
        assert set(",".join(named).split(",")) - {""} <= set(project["optional-dependencies"])
    else:
        assert program in {"git", "cd", "curl"}, f"{program}: say how this command is checked"


@pytest.mark.parametrize("block", [b for b in blocks() if b.commands], ids=label)
def test_commands_are_there(block: Block, tmp_path: Path) -> None:
    for words in block.commands:
        _is_there(words, tmp_path)


@pytest.mark.parametrize("block", [b for b in blocks() if b.run or b.language == "python"], ids=label)
def test_examples_run(block: Block, tmp_path: Path) -> None:
    commands = [["python", "-c", block.text]] if block.language == "python" else block.commands
    assert commands
    for words in commands:
        assert words[0] in {"alignd", "python"}
        arguments = ["-m", "monitor", *words[1:]] if words[0] == "alignd" else words[1:]
        done = _run([sys.executable, *arguments], tmp_path)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://", "#")):
            assert (page.parent / link.split("#")[0]).exists(), link


def test_the_file_tree_is_the_one_there_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## File tree", 1)[1].split("```")[1]
    for line in tree.splitlines()[1:]:
        if line.strip():
            assert (ROOT / line.split()[0]).exists(), line
