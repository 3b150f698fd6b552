"""How a server is started on the machine at hand."""

from __future__ import annotations

import pytest

from deploy.vllm.dtype import dtype_for, this_dtype


@pytest.mark.parametrize(
    ("gpu", "cpuinfo", "dtype"),
    [
        (True, "flags\t\t: avx512f", "auto"),
        (False, "flags\t\t: fpu avx512f amx_bf16 amx_tile", "bfloat16"),
        (False, "flags\t\t: fpu avx512f avx512_bf16", "bfloat16"),
        (False, "Features\t: fp asimd bf16 i8mm", "bfloat16"),
        (False, "flags\t\t: fpu avx512f avx512vl", "float32"),
        (False, "", "float32"),
    ],
)
def test_bfloat16_only_where_the_machine_computes_in_it(gpu: bool, cpuinfo: str, dtype: str) -> None:
    assert dtype_for(gpu=gpu, cpuinfo=cpuinfo) == dtype


def test_this_machine_has_an_answer() -> None:
    assert this_dtype() in {"auto", "bfloat16", "float32"}
