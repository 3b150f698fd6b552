from __future__ import annotations

from monitor.audits.page import trend_page_of
from monitor.audits.trend import breaks_of, trend_json, trend_of
from tests.unit.monitor.audits.audited import audit, result, section
from tests.unit.monitor.audits.test_page import EVIL, Page

RESULTS = [[result(i, positive=i < k, category=EVIL) for i in range(40)] for k in (2, 6, 10)]
DOCUMENTS = [audit((section(r, max_tokens=512 if n < 2 else 64), r), number=n)[0] for n, r in enumerate(RESULTS)]


def test_each_figure_is_followed_through_all_audits() -> None:
    lines = trend_of(DOCUMENTS)
    assert [p.estimate.value for p in lines[0].points] == [0.05, 0.15, 0.25]
    assert lines[0].name == "ASR, harm"
    assert lines[0].plot.count("<circle") == 3
    assert trend_json(DOCUMENTS)["figures"][0]["estimates"][1]["value"] == 0.15


def test_what_was_asked_in_another_way_has_a_mark_and_a_reason() -> None:
    assert breaks_of(DOCUMENTS) == ((2, "harm", ("another max_tokens",)),)
    assert [p.breaks for p in trend_of(DOCUMENTS)[0].points] == [False, False, True]
    assert trend_of(DOCUMENTS)[0].points[2].words.endswith("*")
    assert trend_of(DOCUMENTS)[0].plot.count('class="trend"') == 1, "no line leads over the break"


def test_an_audit_without_a_figure_leaves_a_gap() -> None:
    other = audit((section(RESULTS[0], name="other"), RESULTS[0]), number=3)[0]
    line = next(x for x in trend_of([*DOCUMENTS, other]) if x.name == "ASR, harm")
    assert line.points[3].estimate.value is None
    assert line.plot.count("<circle") == 3


def test_the_page_is_whole_and_names_stay_text() -> None:
    page = Page(trend_page_of(DOCUMENTS, trend_of(DOCUMENTS), breaks_of(DOCUMENTS)))
    assert page.balanced
    assert "script" not in {tag for tag, _ in page.tags}
    assert any("another max_tokens" in words for words in page.words)
