"""Decoding of many prompts that begin alike: what they share is read once, and whoever ends leaves the batch.

Greedy, it says what transformers' own ``generate`` says. Where a model's generation settings ask for more than the
likeliest token, or its cache can't be shared, that one is asked instead. What is drawn is drawn from the whole
distribution, at temperature 1: those settings have no say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Decoder", "common_beginning", "ended"]

_NEUTRAL: Mapping[str, object] = {
    "bad_words_ids": None, "begin_suppress_tokens": None, "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1, "exponential_decay_length_penalty": None, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "guidance_scale": 1, "min_length": 0, "min_new_tokens": 0,
    "no_repeat_ngram_size": 0, "num_beams": 1, "penalty_alpha": None, "prompt_lookup_num_tokens": None,
    "repetition_penalty": 1, "sequence_bias": None, "stop_strings": None, "suppress_tokens": None,
    "watermarking_config": None,
}  # fmt: skip
"""Settings of generation that choose another token than the likeliest, at the values where they do not."""
_SHARED_MIN = 4
"""Tokens from which on sharing is worth it."""
_ENDED_MAX = 0.25
"""Share of a batch that may have ended before the rest is copied together: a copy costs about what a step does."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decoding with one model.

    Attributes:
        ends: Token ids that end a turn.
        drawn: Seed of tokens that are drawn from the model's distribution; ``None`` takes the likeliest.
    """

    model: Any
    pad_id: int
    ends: frozenset[int]
    drawn: int | None = None

    @torch.no_grad()
    def continued(self, prompts: Sequence[Sequence[int]], *, max_tokens: int, batch: int) -> list[list[int]]:
        """Continue token ids.

        Args:
            prompts: Token ids, one at least in each.
            max_tokens: New tokens at most.
            batch: Prompts in one forward pass, sorted by length.

        Returns:
            New tokens in the order of the prompts, up to and with the one that ends.
        """
        said: list[list[int]] = [[] for _ in prompts]
        if not prompts or max_tokens < 1:
            return said
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        shared = self._shared(prompts, max_tokens)
        prefix = self._cache(prompts[0][:shared]) if shared else None
        choose = _likeliest if self.drawn is None else _drawing(self.drawn)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            rows = [prompts[i] for i in chosen]
            if self._plain():
                new_tokens = self._decode(rows, shared, prefix, max_tokens, choose)
            else:
                new_tokens = self._asked(rows, max_tokens, start)
            for i, new in zip(chosen, new_tokens, strict=True):
                said[i] = new
        return said

    def _plain(self) -> bool:
        settings = self.model.generation_config
        neutral = all(getattr(settings, n, None) in (None, v, []) for n, v in _NEUTRAL.items())
        return (neutral or self.drawn is not None) and self._fresh() is not None

    def _fresh(self) -> Any:  # noqa: ANN401 - a cache of transformers, or none where its layers are of another kind
        from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

        cache = DynamicCache(config=self.model.config)
        kinds = {type(layer) for layer in cache.layers}
        return cache if kinds and kinds <= {DynamicLayer, DynamicSlidingWindowLayer} else None

    def _shared(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> int:
        """How many leading tokens to read once; none where a sliding window would count the padding behind them."""
        if not self._plain() or len(prompts) < 2:
            return 0
        longest = max(map(len, prompts)) + max_tokens
        windows = [w for layer in self._fresh().layers if (w := getattr(layer, "sliding_window", None))]
        shared = common_beginning(prompts, most=min(map(len, prompts)) - 1)
        return 0 if shared < _SHARED_MIN or any(w <= longest for w in windows) else shared

    def _device(self) -> torch.device:
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def _cache(self, ids: Sequence[int]) -> Any:  # noqa: ANN401
        cache = self._fresh()
        given = torch.tensor([list(ids)], device=self._device())
        self.model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _rectangle(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask, padded on the left."""
        width = max(map(len, rows))
        ids = torch.tensor([[self.pad_id] * (width - len(r)) + list(r) for r in rows], device=self._device())
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=self._device())
        return ids, mask

    def _decode(
        self,
        rows: Sequence[Sequence[int]],
        shared: int,
        prefix: Any,  # noqa: ANN401 - a cache of transformers, of one row
        max_tokens: int,
        choose: Callable[[Tensor], Tensor],
    ) -> list[list[int]]:
        ids, mask = self._rectangle([r[shared:] for r in rows])
        mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
        cache = copy.deepcopy(prefix) if prefix is not None else self._fresh()
        if prefix is not None:
            cache.batch_repeat_interleave(len(rows))
        places = (mask.cumsum(1) - 1).clamp_min(0)[:, shared:]
        said: list[list[int]] = [[] for _ in rows]
        ends, left = self.ends, list(range(len(rows)))  # left: which row each line of the batch is
        for _ in range(max_tokens):
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]  # fmt: skip
            new = choose(logits.float())
            for row, token in zip(left, new.tolist(), strict=True):
                if not said[row] or said[row][-1] not in ends:
                    said[row].append(token)
            going = [i for i, row in enumerate(left) if said[row][-1] not in ends]
            if not going:
                break
            if len(going) < (1 - _ENDED_MAX) * len(left):
                keep = torch.tensor(going, device=ids.device)
                cache.batch_select_indices(keep)
                new, mask, places, left = new[keep], mask[keep], places[keep], [left[i] for i in going]
            ids, places = new[:, None], places[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(left), 1)], dim=1)
        return said

    def _asked(self, rows: Sequence[Sequence[int]], max_tokens: int, start: int) -> list[list[int]]:
        """What transformers' own decoding says."""
        ids, mask = self._rectangle(rows)
        seeded = nullcontext() if self.drawn is None else _seeded(self.model, self.drawn + start)
        with seeded:
            out = self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, pad_token_id=self.pad_id,
                eos_token_id=sorted(self.ends) or None, do_sample=self.drawn is not None,
            )  # fmt: skip
        return [ended(row, self.ends) for row in out[:, ids.shape[1] :].tolist()]


@contextmanager
def _seeded(model: Any, seed: int) -> Iterator[None]:  # noqa: ANN401 - of transformers
    """Let transformers draw by a seed, and from all of the model's distribution.

    Whatever is not said in a call it takes from the model's own settings, so that they are put away meanwhile.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(temperature=1.0, top_k=0, top_p=1.0)  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        model.generation_config = own


def _likeliest(logits: Tensor) -> Tensor:
    """(rows, vocabulary) to (rows,)."""
    return logits.argmax(-1)


def _drawing(seed: int) -> Callable[[Tensor], Tensor]:
    """Return how to draw tokens, the same on any device: (rows, vocabulary) to (rows,)."""
    generator = torch.Generator("cpu").manual_seed(seed)

    def drawn(logits: Tensor) -> Tensor:
        return torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator)[:, 0].to(logits.device)

    return drawn


def ended(ids: Sequence[int], ends: Collection[int]) -> list[int]:
    """Cut an answer behind the first token that ends it: what follows there is padding."""
    last = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[: last + 1])


def common_beginning(rows: Sequence[Sequence[int]], *, most: int) -> int:
    """Count the tokens that all rows begin with, up to ``most``, which no row is shorter than."""
    first = rows[0]
    return next((i for i in range(most) if any(r[i] != first[i] for r in rows)), most)
