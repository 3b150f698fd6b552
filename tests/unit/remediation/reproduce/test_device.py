"""Whether a GPU is here."""

from __future__ import annotations

import pytest

from remediation.reproduce.device import fault_of


@pytest.mark.parametrize(
    ("device", "gpus", "told"),
    [("cuda", 0, "there is no GPU here"), ("auto", 0, "there is no GPU here"), ("cuda:1", 0, "there is no GPU here"),
     ("cuda", 1, ""), ("auto", 2, ""), ("cuda:1", 2, ""), ("cuda:2", 2, "the last GPU here is cuda:1")],
)  # fmt: skip
def test_a_gpu_that_is_not_there_is_told(device: str, gpus: int, told: str) -> None:
    assert fault_of(device, gpus=gpus) == told
