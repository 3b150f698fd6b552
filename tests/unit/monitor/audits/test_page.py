from __future__ import annotations

import re
from html.parser import HTMLParser

from monitor.audits.page import page_of
from probes.behavior import SuiteKind
from tests.unit.monitor.audits.audited import audit, result, section

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a reader meets: the tags that are open, and what they hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)

    @property
    def balanced(self) -> bool:
        return not self._open


def page(**happened: object) -> str:
    results = [result(i, positive=i < 3, category=EVIL if i % 2 else "plain", attack="direct") for i in range(30)]
    benign = [result(i, kind=SuiteKind.BENIGN, positive=i < 1, form="question") for i in range(20)]
    document, _ = audit(
        (section(results), results), (section(benign, name="ordinary", kind=SuiteKind.BENIGN), benign),
        happened=happened,
    )  # fmt: skip
    return page_of(document)


def test_names_of_others_stay_text() -> None:
    note = {"at": "2026-02-28T00:00:00+00:00", "incident": "i", "state": "OPEN", "note": f"ann ordered: {EVIL}"}
    text = page(decisions=[note])
    found = Page(text)
    assert found.balanced
    assert "script" not in {tag for tag, _ in found.tags}
    assert EVIL in found.words
    assert sum(EVIL in words for words in found.words) == 3, "in its rows of ASR and HS, and in the note"
    assert EVIL not in text.replace("&lt;", "").replace("&gt;", "")


def test_the_page_needs_nothing_beside_itself() -> None:
    text = page()
    assert not re.search(r"(src|href)=|url\(|@import", text)
    assert '<html lang="en">' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_tables_can_be_read_aloud() -> None:
    found = Page(page())
    heads = [a for tag, a in found.tags if tag == "th"]
    assert heads
    assert {a.get("scope") for a in heads} == {"col", "row"}
    plots = [a for tag, a in found.tags if tag == "svg"]
    assert len(plots) > 10
    assert all(a["role"] == "img" and a["aria-label"] for a in plots)
    assert [tag for tag, _ in found.tags if tag == "h1"] == ["h1"]


def test_figures_are_told_in_percent_with_interval_and_count() -> None:
    words = " ".join(Page(page()).words)
    assert "10.0 %" in words
    assert "2.1 to 26.5 %" in words, "Clopper-Pearson of 3 in 30"
    assert "5.0 %" in words
    assert "not calibrated against people" in words


def test_a_measure_without_an_estimate_says_so() -> None:
    results = [result(i, positive=None if i < 9 else False) for i in range(30)]
    document, _ = audit((section(results), results))
    words = " ".join(Page(page_of(document)).words)
    assert "no estimate" in words
    assert "timeout" in words
