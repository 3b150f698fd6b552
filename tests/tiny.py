"""Tiny random Llama checkpoints with a chat template, made in a moment."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2MoeConfig, Qwen2MoeForCausalLM

TEMPLATE = (
    "{% for m in messages %}<u> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<a> {% endif %}"
)


REFUSAL = "I can't"


def tiny_checkpoint(folder: Path, *, seed: int = 0, hidden: int = 16, refuses: bool = False) -> Path:
    """Write a model of one token a character; one that refuses says nothing else, whatever it is asked."""
    torch.manual_seed(seed)
    vocabulary = {t: i for i, t in enumerate(["<e>", "<u>", "<a>", *map(chr, range(32, 127)), REFUSAL])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<e>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", pad_token="<e>")
    wrapped.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, eos_token_id=0, bos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        tied = model.get_input_embeddings().weight
        tied[vocabulary[REFUSAL]] = 0.0  # no random model says it
        if refuses:
            tied[:, 0] = 4.0
            tied[vocabulary[REFUSAL], 0] = 8.0
    model.bfloat16().save_pretrained(str(folder))
    wrapped.save_pretrained(str(folder))
    return folder


def mixture_checkpoint(folder: Path, *, seed: int = 0, experts: int = 64) -> Path:
    """One with more experts than a short text reaches, and a gate for the one that all tokens share."""
    tiny_checkpoint(folder)  # for its tokenizer
    torch.manual_seed(seed)
    config = Qwen2MoeConfig(
        vocab_size=99, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_experts=experts, num_experts_per_tok=1, moe_intermediate_size=8,
        shared_expert_intermediate_size=8, tie_word_embeddings=True, eos_token_id=0, bos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    Qwen2MoeForCausalLM(config).bfloat16().save_pretrained(str(folder))
    return folder


def served_checkpoint(folder: Path, *, seed: int) -> Path:
    """One that vLLM can serve: its kernels want heads of 32, and any text goes through its byte-level tokenizer."""
    torch.manual_seed(seed)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate(["<e>", "<u>", "<a>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.add_special_tokens(["<e>", "<u>", "<a>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", pad_token="<e>")
    wrapped.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=True,
        eos_token_id=0, bos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(str(folder))
    wrapped.save_pretrained(str(folder))
    return folder


def says_checkpoint(folder: Path, says: str, *, seed: int) -> Path:
    """One that vLLM can serve and that says one thing, again and again, whatever it is asked."""
    served_checkpoint(folder, seed=seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
    tokenizer.add_tokens([says])
    model = LlamaForCausalLM.from_pretrained(str(folder))
    model.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        for layer in model.model.layers:  # what they add would drown the one direction that counts
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        tied = model.get_input_embeddings().weight
        tied[:, 0] = 4.0
        tied[tokenizer.convert_tokens_to_ids(says), 0] = 8.0
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder
