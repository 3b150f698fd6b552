"""The rules of docs/architecture.md that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("monitor", "probes", "remediation", "deploy", "deploy/vllm_plugin/alignd_vllm")
SOURCES = sorted({p for package in PACKAGES for p in (ROOT / package).rglob("*.py")})
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_MAX = 300
FUNCTION_LINES_MAX = 50
"""Lines of its body after the docstring: the budget of 40 with some room."""
FORBIDDEN_FILES = {"utils.py", "helpers.py", "common.py", "base.py", "misc.py", "core"}
FORBIDDEN_CLASS = re.compile(r"(Manager|Handler|Helper|Engine|Utils?)$")
OUTERMOST_LOOPS = {"monitor/guard.py"}
"""Where any error may be caught, to be logged."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name)
def test_a_file_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
    assert not FORBIDDEN_FILES & set(path.relative_to(ROOT).parts)
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text.replace("TODO|FIXME|XXX|HACK", ""))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_source_keeps_the_rules(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body[1:]:
        assert "from __future__ import annotations" in path.read_text(encoding="utf-8"), "postponed annotations"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert not FORBIDDEN_CLASS.search(node.name), node.name
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
            length = (node.end_lineno or 0) - first.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name}: {length} lines"
        if isinstance(node, ast.ExceptHandler) and name(path) not in OUTERMOST_LOOPS:
            caught = "" if node.type is None else ast.unparse(node.type)
            passed_on = isinstance(node.body[-1], ast.Raise)
            assert passed_on or caught not in {"", "Exception", "BaseException"}, f"line {node.lineno} catches all"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_every_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        for dependency in group:
            if not dependency.startswith("alignd["):
                assert re.search(re.escape(f'"{dependency}"') + r", # \S+", text), f"{dependency}: say who needs it"


def test_entry_points_are_plugins() -> None:
    """Each names a module with ``Options`` and ``make``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = [m for group in project["entry-points"].values() for m in group.values()]
    assert modules
    for module in modules:
        plugin = import_module(module)
        assert hasattr(plugin, "Options"), module
        assert callable(plugin.make), module
