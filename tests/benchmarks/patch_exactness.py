"""Exactness of the factors: ``python -m tests.benchmarks.patch_exactness`` prints a table and, last, one JSON object.

For a tiny random model of each architecture, every targeted matrix: the singular values and the product of the
factored SVD against ``torch.linalg.svd`` of the formed gradient, and the formed gradient against autograd's own.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.modules import matrices
from remediation.subspace.capture import Example, capture
from remediation.subspace.factor import factored_svds
from tests.architectures import ARCHITECTURES, VOCABULARY, tiny_model

__all__ = ["measure"]

_TOKENS, _ANSWER = 24, 8
_BAR = 1e-5


class _Padding:
    pad_token_id = eos_token_id = 0


def measure() -> dict[str, Any]:
    """Largest relative errors over all matrices, and the architectures they were measured on.

    Returns:
        ``svd_relative_error_max``: of singular values against the largest one, and of U S V^T in Frobenius norm;
        ``gradient_relative_error_max``: of D^T X against autograd; ``architectures``; ``table``: name, bar, measured.
    """
    rows, worst, worst_gradient = [], 0.0, 0.0
    for name in ARCHITECTURES:
        svd, gradient, count = _errors(name)
        worst, worst_gradient = max(worst, svd), max(worst_gradient, gradient)
        rows.append((f"{name}: SVD from factors, {count} matrices", f"<= {_BAR:g}", f"{svd:.1e}"))
        rows.append((f"{name}: factors against autograd", "", f"{gradient:.1e}"))
    return {
        "svd_relative_error_max": worst,
        "gradient_relative_error_max": worst_gradient,
        "architectures": list(ARCHITECTURES),
        "table": rows,
    }


def _errors(name: str) -> tuple[float, float, int]:
    model = tiny_model(name)
    ids = torch.randint(1, VOCABULARY, (1, _TOKENS), generator=torch.Generator().manual_seed(1))
    cut = _TOKENS - _ANSWER
    logits = model(input_ids=ids).logits[0, cut - 1 : -1]
    nn.functional.cross_entropy(logits, ids[0, cut:]).backward()  # type: ignore[no-untyped-call]
    expected = {n: _gradient(m) for n, m in matrices(model).items()}
    example = Example(ids[0, :cut].tolist(), ids[0, cut:].tolist())
    factors = capture(ChatModel(model, _Padding()), [example]).factors
    spectra = factored_svds(factors)
    largest = max(float(g.norm()) for g in expected.values())
    svd = gradient = 0.0
    for matrix, one in factors.items():
        formed = one.d.double().T @ one.x.double()
        s = torch.linalg.svd(formed)[1]
        found = spectra[matrix]
        svd = max(svd, float((found.s.double() - s[: len(found.s)]).abs().max() / s[0]))
        svd = max(svd, float((found.matrix().double() - formed).norm() / formed.norm()))
        own = expected[matrix].double()
        gradient = max(gradient, float((formed - own).norm()) / max(float(own.norm()), 1e-3 * largest))
    return svd, gradient, len(factors)


def _gradient(matrix: Any) -> Tensor:  # noqa: ANN401 - a matrix whose parameter has a gradient
    whole: Tensor = getattr(matrix.module, matrix.parameter).grad
    own = whole if matrix.expert is None else whole[matrix.expert]
    return own.T if matrix.transposed else own


def main() -> None:
    """Measure and print."""
    found = measure()
    for name, asked, said in found.pop("table"):
        print(f"{name:<60} {asked:<10} {said}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
