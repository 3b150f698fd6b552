from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from monitor.audits.archive import canonical
from monitor.audits.finish import finish
from monitor.audits.manifest import check_folder
from monitor.audits.pdf import pdf_of
from monitor.audits.signing import new_key, public_key_of
from monitor.errors import ConfigError
from tests.unit.monitor.audits.audited import audit, result, section

NAME = "prod-20260301-120000"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    results = [result(i, positive=i < 3) for i in range(30)]
    document, outcomes = audit((section(results), results))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "audit.json").write_bytes(canonical(document))
    (folder / "outcomes.json").write_bytes(canonical(outcomes))
    return folder


def openssl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, timeout=30)


def streams(pdf: bytes) -> list[bytes]:
    found = []
    for raw in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompress(raw))
        except zlib.error:
            found.append(raw)
    return found


def text_of(pdf: bytes) -> str:
    """Read a PDF's words: its glyphs, each by the map of its font."""
    parts = streams(pdf)
    glyphs: dict[str, str] = {}
    for part in parts:
        if b"beginbfchar" in part:
            for glyph, letter in re.findall(rb"<([0-9a-fA-F]{4})> <([0-9a-fA-F]+)>", part):
                glyphs.setdefault(glyph.decode().lower(), bytes.fromhex(letter.decode()).decode("utf-16-be"))
    shown = [s for part in parts if b" Tf" in part for s in re.findall(rb"<([0-9a-fA-F]+)>", part)]
    return "".join(glyphs.get(s[i : i + 4].decode().lower(), "") for s in shown for i in range(0, len(s), 4))


def test_a_signed_audit_is_what_openssl_says_it_is(work: Path, tmp_path: Path) -> None:
    key, public, final = tmp_path / "audit.pem", tmp_path / "audit.pub", tmp_path / NAME
    public.write_text(new_key(key))
    assert key.stat().st_mode & 0o077 == 0
    assert finish(work, final, private_key=key, log_head="ab" * 32) == ()
    assert {p.name for p in final.iterdir()} == {
        "audit.html", "audit.json", "audit.pdf", "manifest.json", "manifest.sig", "outcomes.json",
    }  # fmt: skip
    assert not work.exists()
    manifest = final / "manifest.json"
    checked = ["pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", "-in", str(manifest), "-sigfile",
               str(final / "manifest.sig")]  # fmt: skip
    assert "Signature Verified Successfully" in openssl(*checked).stdout
    said = json.loads(manifest.read_bytes())
    assert (said["audit"], said["log_head"]) == (NAME, "ab" * 32)
    assert said["files"]["audit.html"] == hashlib.sha256((final / "audit.html").read_bytes()).hexdigest()
    manifest.write_bytes(manifest.read_bytes().replace(b"ab" * 32, b"cd" * 32))
    assert openssl(*checked).returncode != 0


def test_every_change_of_a_file_is_found(work: Path, tmp_path: Path) -> None:
    key, final = tmp_path / "audit.pem", tmp_path / NAME
    public = new_key(key).encode()
    finish(work, final, private_key=key)
    assert check_folder(final, public).sound
    (final / "outcomes.json").unlink()
    assert check_folder(final, public).left_out == ("outcomes.json",)
    assert check_folder(final, public).sound, "it may stay at the site"
    (final / "audit.html").write_text("x")
    assert check_folder(final, public).faults == ("audit.html is not what was written",)
    (final / "audit.pdf").unlink()
    assert "audit.pdf is not there" in check_folder(final, public).faults
    other = tmp_path / "other.pem"
    new_key(other)
    assert "not this key's" in check_folder(final, public_key_of(other).encode()).faults[-1]
    (final / "manifest.sig").unlink()
    assert "nobody signed" in check_folder(final, public).faults[-1]
    moved = final.rename(tmp_path / "prod-20270101-000000")
    assert check_folder(moved, None).faults[-1] == f"the manifest is of audit {NAME}"


def test_the_pdf_has_pages_and_words_and_is_the_same_twice(work: Path, tmp_path: Path) -> None:
    finish(work, tmp_path / NAME)
    pdf, page = ((tmp_path / NAME / n).read_bytes() for n in ("audit.pdf", "audit.html"))
    assert pdf.startswith(b"%PDF-")
    pages = sum(len(re.findall(rb"/Type /Page\b", part)) for part in (pdf, *streams(pdf)))
    assert 1 <= pages <= 6
    words = text_of(pdf).replace(" ", "")
    assert "SafetyauditofprodRelease" in words.replace("\n", "")
    assert NAME in words
    assert pdf_of(page.decode(), name=NAME) == pdf


def test_without_the_extra_there_is_no_pdf_and_a_word_of_it(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    (note,) = finish(work, tmp_path / NAME)
    assert "alignd[audit]" in note
    assert not (tmp_path / NAME / "audit.pdf").exists()
    assert check_folder(tmp_path / NAME, None).sound


def test_what_was_laid_out_before_a_kill_is_not_laid_out_again(work: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(work, kept)
    finish(work, tmp_path / NAME)
    before = (tmp_path / NAME / "audit.html").stat().st_mtime_ns
    finish(kept, tmp_path / NAME)
    assert (tmp_path / NAME / "audit.html").stat().st_mtime_ns == before


@pytest.mark.parametrize(("content", "message"), [
    (None, "check the path"), (b"x", "no PEM key"), (b"rsa", "not an Ed25519 key"),
])  # fmt: skip
def test_a_key_that_can_not_sign_is_told(work: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    key = tmp_path / "audit.pem"
    if content == b"rsa":
        assert openssl("genpkey", "-algorithm", "RSA", "-out", str(key)).returncode == 0
    elif content:
        key.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        finish(work, tmp_path / NAME, private_key=key)
    assert work.exists(), "what was measured is kept"
    assert not (tmp_path / NAME).exists()


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    new_key(tmp_path / "audit.pem")
    with pytest.raises(ConfigError, match="there already"):
        new_key(tmp_path / "audit.pem")
