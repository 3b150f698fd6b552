"""Manifests state what is there; ``python -m tests.unit.probes.test_manifest`` writes rows and digests anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest

import probes.suites
from probes.behavior import BehaviorId, Partition, partition_of
from probes.errors import SuiteError
from probes.suites import BUILTIN, builtin, content_sha256
from probes.suites.manifest import SPLIT, SuiteManifest, builtin_manifests

DATA = Path(probes.suites.__file__).parent / "data"
POOLS = {"dsafe", "dbenign"}


def test_each_suite_has_a_manifest_and_no_other_has_one() -> None:
    assert list(builtin_manifests()) == list(BUILTIN)
    assert {p.stem for p in DATA.glob("*.jsonl")} == set(BUILTIN)


@pytest.mark.parametrize("name", BUILTIN)
def test_a_manifest_states_what_is_there(name: str) -> None:
    manifest, suite = builtin_manifests()[name], builtin(name)
    assert (manifest.name, manifest.kind, manifest.rows) == (name, suite.kind, len(suite.behaviors))
    assert manifest.sha256 == content_sha256(suite.behaviors) == suite.sha256
    assert (manifest.licence, manifest.split) == ("Apache-2.0", SPLIT)
    assert manifest.use == ("train" if name in POOLS else "probe")
    assert manifest.version.count(".") == 2
    assert manifest.about.endswith(".")


def test_the_stated_split_is_the_one_there_is() -> None:
    parts = [partition_of(BehaviorId(f"b{i}"), key="k") for i in range(5000)]
    for partition in Partition:
        share = round(100 * parts.count(partition) / len(parts), -1)
        assert f"{share:g} % {partition.value}" in SPLIT


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda text: text.replace("poach", "paint"), "256 rows with digest"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "255 rows with digest"),
        (lambda text: text[:-20], "its file is missing or cut short"),
        (lambda text: text.replace('"prompt"', '"asked"', 1), "its file is missing or cut short"),
        (None, "its file is missing or cut short"),
    ],
)
def test_a_changed_data_file_is_refused(
    change: Callable[[str], str] | None, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    if change:
        text = change((DATA / "dsafe.jsonl").read_text(encoding="utf-8"))
        (tmp_path / "data" / "dsafe.jsonl").write_text(text, encoding="utf-8")
    manifests = builtin_manifests()
    monkeypatch.setattr("probes.suites.files", lambda _: tmp_path)
    monkeypatch.setattr("probes.suites.builtin_manifests", lambda: manifests)
    with pytest.raises(SuiteError, match=f"dsafe is damaged: {how}.*install alignd again"):
        builtin.__wrapped__("dsafe")


@pytest.mark.parametrize("text", [None, "{", "[{}]", "[1]", '[{"kind": "x"}]'])
def test_damaged_manifests_are_refused(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    if text is not None:
        (tmp_path / "data" / "manifests.json").write_text(text)
    monkeypatch.setattr("probes.suites.manifest.files", lambda _: tmp_path)
    with pytest.raises(SuiteError, match="install alignd again"):
        builtin_manifests.__wrapped__()


def test_a_suite_without_a_manifest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.suites.builtin_manifests", dict)
    with pytest.raises(SuiteError, match="it has no manifest"):
        builtin.__wrapped__("dsafe")


def main() -> None:
    path = Path(str(files("probes.suites").joinpath("data", "manifests.json")))
    made = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        lines = (DATA / f"{row['name']}.jsonl").read_text(encoding="utf-8").splitlines()
        behaviors = [probes.suites._behavior(line) for line in lines]
        manifest = SuiteManifest(**{**row, "rows": len(behaviors), "sha256": content_sha256(behaviors)})
        made.append(asdict(manifest))
    path.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
