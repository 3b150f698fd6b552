"""The page's files as a browser gets them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
from starlette.applications import Starlette

from monitor.web.page import page_routes

STATIC = files("monitor.web") / "static"
MODULES = sorted(f.name for f in STATIC.iterdir() if f.name.endswith(".js"))
WEIGHT_MAX = 100_000
"""Bytes of everything: what a phone on a bad line gets in a second."""


@pytest.fixture
def opened() -> list[str]:
    """One for each time that the page was asked for."""
    return []


@pytest.fixture
async def http(opened: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=Starlette(routes=page_routes(lambda: opened.append("page"))))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def _named(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/static/[^"#]+)', page)


@pytest.mark.parametrize(
    "path", ["/", "/targets/prod", "/incidents/a-1", "/targets/prod/transcripts?kind=task", "/incidents/a/transcripts"]
)
async def test_every_view_is_the_same_page(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.content == (await http.get("/")).content


async def test_all_that_the_page_names_is_there_and_kept_for_good(http: httpx.AsyncClient) -> None:
    named = _named((await http.get("/")).text)
    assert {n.rsplit("/", 1)[1] for n in named} == {f.name for f in STATIC.iterdir()} - {"index.html"}
    assert len({n.split("/")[2] for n in named}) == 1
    weight = 0
    for path in set(named):
        answer = await http.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        weight += len(answer.content)
    assert weight < WEIGHT_MAX


async def test_it_is_told_when_somebody_opens_the_page_and_not_for_its_parts(
    http: httpx.AsyncClient, opened: list[str]
) -> None:
    named = _named((await http.get("/")).text)
    for path in named:
        await http.get(path)
    assert opened == ["page"]
    await http.get("/targets/prod")
    assert opened == ["page", "page"]


async def test_what_a_browser_has_already_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/")
    assert first.headers["cache-control"] == "no-cache"
    again = await http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await http.get("/", headers={"If-None-Match": '"older"'})).status_code == 200


async def test_files_of_another_version_and_of_other_folders_are_not_there(http: httpx.AsyncClient) -> None:
    named = _named((await http.get("/")).text)[0]
    folder = named.rsplit("/", 1)[0]
    for path in ("/static/0123456789abcdef/app.js", f"{folder}/index.html", f"{folder}/..%2Fpage.py", f"{folder}/%00"):
        assert (await http.get(path)).status_code == 404, path


def test_nothing_in_the_page_is_inline_or_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|\son\w+=|javascript:|https?:", page)
    assert all(re.search(r"^\s*>|src=", tag) for tag in re.findall(r"<script([^>]*)", page))
    for name in MODULES:
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//cdn|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_and_says_what_it_is(name: str) -> None:
    lines = (STATIC / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300
    assert lines[0].startswith("// ")
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", MODULES)
def test_a_module_uses_what_it_imports(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    for names, source in re.findall(r'^import (.+?) from "\./([\w.]+)";', text, re.MULTILINE):
        theirs = (STATIC / source).read_text(encoding="utf-8")
        for word in re.findall(r"\w+", names.removeprefix("* as ")):
            assert len(re.findall(rf"\b{word}\b", text)) > 1, f"{word} is not used"
            assert names.startswith("*") or re.search(rf"export (async )?(function|class|const) {word}\b", theirs), word
