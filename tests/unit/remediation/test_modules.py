"""Which modules count as matrices, and what ChatModel takes a model's parts for."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from remediation.checkpoints.chat import ChatModel  # noqa: E402
from remediation.checkpoints.modules import Targets, matrices  # noqa: E402
from remediation.errors import PatchFailed  # noqa: E402
from tests.architectures import ARCHITECTURES, tiny_model  # noqa: E402


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_never_the_head_nor_a_router_unless_asked(name: str) -> None:
    model = tiny_model(name)
    found = matrices(model)
    assert not any("lm_head" in n or n.endswith((".gate", ".router")) for n in found)
    assert "lm_head" in matrices(model, Targets(head=True))
    per_layer = {"phi3": 4, "mixtral": 4 + 8, "qwen2-moe": 4 + 8 + 3, "qwen3-moe": 4 + 8, "gpt-oss": 4 + 8}.get(name, 7)
    assert len(found) == 2 * per_layer
    for one in found.values():
        assert one.dense().shape == one.shape
        assert one.gain() > 0


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_body_and_head_make_the_models_own_logits(name: str) -> None:
    model = tiny_model(name)
    chat = ChatModel(model, None)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        hidden = chat.body(input_ids=ids).last_hidden_state
        assert torch.allclose(chat.logits(hidden), model(input_ids=ids).logits, atol=1e-5)


def test_a_pattern_chooses_by_dotted_name() -> None:
    found = matrices(tiny_model("mixtral"), Targets(pattern=r"layers\.1\.mlp\.experts\.[02]\.down_proj$"))
    assert list(found) == [f"model.layers.1.mlp.experts.{e}.down_proj" for e in (0, 2)]
    assert found["model.layers.1.mlp.experts.0.down_proj"].shape == (32, 48)


def test_a_linear_router_is_left_out_by_its_name() -> None:
    class Mixture(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(5, 4)
            self.gate, self.gate_proj = torch.nn.Linear(4, 2), torch.nn.Linear(4, 8)

        def get_input_embeddings(self) -> Any:  # noqa: ANN401
            return self.embed

        def get_output_embeddings(self) -> None:
            return None

    assert list(matrices(Mixture())) == ["gate_proj"]
    assert list(matrices(Mixture(), Targets(routers=True))) == ["gate", "gate_proj"]


def test_missing_parts_are_named() -> None:
    class Bare:
        tokenizer = None

        def get_input_embeddings(self) -> None:
            raise NotImplementedError

        def get_output_embeddings(self) -> None:
            return None

    chat = ChatModel(Bare(), None)
    with pytest.raises(PatchFailed, match="Bare has no input embedding"):
        _ = chat.embedding
    with pytest.raises(PatchFailed, match="Bare has no output head"):
        _ = chat.head


def test_a_tokenizer_without_template_is_named() -> None:
    class Plain:
        chat_template = None
        name_or_path = "some/folder"

    with pytest.raises(PatchFailed, match=r"some/folder has no chat template.*chat_template\.jinja"):
        ChatModel(None, Plain()).prompt_ids("hello")
