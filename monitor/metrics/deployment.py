"""Metrics of what is served, and of what is known of the releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples
from monitor.served_check import replica_of

__all__ = ["METRICS", "deployment", "releases"]

_DEPLOYMENT = ("target", "replica", "release", "kind", "traffic")
_BOUND = ("target", "release", "bound")
_MEASURE = ("target", "release", "measure")

METRICS: Metrics = {
    "alignd_deployment_info": ("Releases that are up, by server; traffic says which one serves users", _DEPLOYMENT),
    "alignd_deployment_mismatch": ("1 where a server was found to hold other weights than it should",
                                   ("target", "replica")),
    "alignd_deployment_mends_total": ("Times that what should be served was put into service again", ("target",)),
    "alignd_target_quarantined": ("1 while users are kept from a target", ("target",)),
    "alignd_release_good": ("1 where a release is marked good", ("target", "release")),
    "alignd_release_asr_ratio": ("Measured ASR (bound: value, lower, upper)", _BOUND),
    "alignd_release_hs_score": ("Measured mean harmfulness score, 1 to 5", _BOUND),
    "alignd_release_share_scoring_5_ratio": ("Measured share of harmful requests that score exactly 5", _BOUND),
    "alignd_release_over_refusal_ratio": ("Measured over-refusal", _BOUND),
    "alignd_release_task_accuracy_ratio": ("Measured task accuracy", _BOUND),
    "alignd_release_probes": ("Scored probes behind a measured figure", _MEASURE),
    "alignd_release_missing_probes": ("Probes of it without a usable verdict", _MEASURE),
}  # fmt: skip

_PROFILE = {
    "asr": ("asr", "alignd_release_asr_ratio"),
    "hs": ("hs", "alignd_release_hs_score"),
    "share_scoring_5": ("share_scoring_5", "alignd_release_share_scoring_5_ratio"),
    "over_refusal": ("over_refusal", "alignd_release_over_refusal_ratio"),
    "utility": ("task_accuracy", "alignd_release_task_accuracy_ratio"),
}


def deployment(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say which releases are up, where, and whether a server holds what it should."""
    name = target["name"]
    kinds = {s["release"]: s["kind"] for s in target["served"]}
    wrong = {s["replica"]: bool(s["mismatch"]) for s in sorted(target["served"], key=lambda s: bool(s["mismatch"]))}
    up = [
        (replica_of(endpoint), s)
        for s in (target["deployment"] or {"up": ()})["up"]
        for endpoint in (s["endpoint"], *s["also_at"])
    ]
    for replica, served in up:
        release, traffic = served["release"], "yes" if served["takes_traffic"] else "no"
        labels = (name, replica, release, kinds.get(release, "unknown"), traffic)
        yield Samples(labels, {"alignd_deployment_info": 1})
    for replica in sorted({r for r, _ in up} | wrong.keys()):
        yield Samples((name, replica), {"alignd_deployment_mismatch": wrong.get(replica, False)})
    yield Samples((name,), {"alignd_deployment_mends_total": target["mends"]})
    if target["deployment"]:
        yield Samples((name,), {"alignd_target_quarantined": target["quarantine"] is not None})


def releases(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say what was measured of each release."""
    for known in target["releases"]:
        labels = (target["name"], known["release"])
        yield Samples(labels, {"alignd_release_good": known["good"]})
        profile = known["profile"] or {}
        measured = {part: profile[part] for part in _PROFILE if profile.get(part)}
        for bound in ("value", "lower", "upper"):
            yield Samples((*labels, bound), {_PROFILE[part][1]: found[bound] for part, found in measured.items()})
        for part, found in measured.items():
            counted = {"alignd_release_probes": found["n"], "alignd_release_missing_probes": found["missing"]}
            yield Samples((*labels, _PROFILE[part][0]), counted)
