"""Calls are put down in the log and in the audit log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from monitor.stores.sql import SqlStore
from monitor.web.calls import CallBook, CallRecord
from tests.fake_site import Clock


def call(caller: str = "oncall", problem: str = "", path: str = "/api/v1/x") -> CallRecord:
    status = 403 if problem else 202
    return CallRecord(caller=caller, address="10.0.0.1", method="POST", path=path, status=status, problem=problem)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The daemon's own records: threads of other tests' servers may write some meanwhile."""
    return [r.getMessage() for r in caplog.records if r.name == "alignd"]


def test_a_call_stands_in_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/s.db")
    book = CallBook(store, clock=Clock())
    with caplog.at_level(logging.INFO):
        book(call())
        book(call(problem="csrf"))
        book(call(caller="anonymous", problem="malformed", path=""))
    assert said(caplog) == ["api_call", "api_refused", "api_refused"]
    kept = store.audit_log()
    assert [(e.actor, e.action, e.subject) for e in kept] == [
        ("oncall", "api_call", "/api/v1/x"), ("oncall", "api_refused", "/api/v1/x"),
        ("anonymous", "api_refused", "10.0.0.1"),
    ]  # fmt: skip
    assert json.loads(kept[1].details) == {"address": "10.0.0.1", "method": "POST", "status": 403, "problem": "csrf"}
    store.close()


def test_a_flood_of_strangers_does_not_fill_the_audit_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/s.db")
    book = CallBook(store, clock=Clock(), steady=lambda: 0.0)
    with caplog.at_level(logging.INFO):
        for _ in range(150):
            book(call(caller="anonymous", problem="unauthorized"))
        book(call())
    assert len(said(caplog)) == 151
    kept = store.audit_log(limit=1000)
    assert len(kept) == 121
    assert kept[-1].actor == "oncall", "who is known is put down all the same"
    store.close()


def test_a_call_is_in_the_log_where_the_store_can_not_take_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/s.db")
    store.close()
    (tmp_path / "s.db").write_bytes(b"no database" * 1000)
    with caplog.at_level(logging.INFO):
        CallBook(store, clock=Clock())(call(caller="anonymous", problem="slow", path=""))
    assert said(caplog) == ["api_refused", "call_not_in_audit_log"]
    assert "damaged" in next(r.__dict__["why"] for r in caplog.records if r.getMessage() == "call_not_in_audit_log")
    store.close()
