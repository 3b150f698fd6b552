"""What Python shows of a probe and its answer, e.g. in a traceback, holds no text."""

from __future__ import annotations

from probes.behavior import Behavior, BehaviorId
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.result import ProbeResult
from probes.target import Completion


def test_no_text_is_shown() -> None:
    behavior = Behavior(
        id=BehaviorId("b1"), prompt="a text", category="c", answer="a text", goal="a text", context="a text",
        opening="a text",
    )  # fmt: skip
    probe = Probe(
        id=ProbeId("s/0000"), suite="harm", behavior=behavior, attack="direct", sampling=Sampling(), seed=1,
        messages=(Message(role="user", content="a text"),),
    )  # fmt: skip
    completion = Completion(
        probe=probe.id, text="a text", finish_reason="stop", model="m", release="r", completion_tokens=1,
        latency_seconds=0.1, first_token=(("a text", -0.1),),
    )  # fmt: skip
    shown = repr(ProbeResult(probe=probe, completion=completion, judgement=None))
    assert "a text" not in shown
    assert "b1" in shown
