"""Whom channels trust."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from monitor.notifiers.trust import trusting
from probes.errors import PluginError


def test_certificates_are_verified_without_a_file_too() -> None:
    assert trusting(None).verify_mode is ssl.CERT_REQUIRED


def test_a_file_that_holds_no_authority_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(PluginError, match=f"ca_file: {path} can't be used"):
            trusting(path)
