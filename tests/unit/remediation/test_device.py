"""Whether a GPU is here."""

from __future__ import annotations

import pytest

from remediation.device import fault_here, fault_of, use
from remediation.errors import PatchFailed


@pytest.mark.parametrize(
    ("device", "gpus", "told"),
    [("cuda", 0, "there is no GPU here"), ("auto", 0, "there is no GPU here"), ("cuda:1", 0, "there is no GPU here"),
     ("cuda", 1, ""), ("auto", 2, ""), ("cuda:1", 2, ""), ("cuda:2", 2, "the last GPU here is cuda:1")],
)  # fmt: skip
def test_a_gpu_that_is_not_there_is_told(device: str, gpus: int, told: str) -> None:
    assert fault_of(device, gpus=gpus) == told


def test_the_processor_is_always_there_and_a_gpu_is_not_taken_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert fault_here("cpu") == ""
    with pytest.raises(PatchFailed, match=r"device cuda can't be used: there is no GPU here; give another, or cpu"):
        use("cuda")
