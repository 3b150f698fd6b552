"""Load a checkpoint and look whether what is in memory is what its files say: nothing made up, nothing damaged."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateError

from deploy.adapter import full_checkpoint
from deploy.errors import CheckpointError
from deploy.weights import read_config
from remediation.checkpoints.adapter import add_to
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.layered import carried
from remediation.checkpoints.output import require_finite
from remediation.errors import PatchFailed
from remediation.memory import out_of_memory

__all__ = ["load_sound", "require_mergeable"]


def load_sound(folder: Path, what: str) -> ChatModel:
    """Load a checkpoint that recipes can work on; an adapter of the release store is put into its base's weights.

    Args:
        what: What the folder is, for messages.

    Raises:
        PatchFailed: A weight is NaN or infinite, or the tokenizer has no chat template or one that does not work.
        CheckpointError: Its configuration, weights and tokenizer do not fit together.
    """
    try:
        chat = load(full_checkpoint(folder))
        add_to(chat, carried(folder), dtype=None)
    except ImportError as error:
        raise CheckpointError(
            f"{what} {folder} can't be loaded on this machine: {_first_line(error)}; install what it names (quantised "
            "weights need the package that made them), or give the checkpoint from before it was quantised"
        ) from error
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise CheckpointError(
            f"{what} {folder} can't be loaded: configuration, weights and tokenizer do not fit together "
            f"({_first_line(error)}); save it again"
        ) from error
    if not chat.tokenizer.chat_template:
        raise PatchFailed(
            f"{what} {folder}: its tokenizer has no chat template; put the one that it was fine-tuned with into "
            "chat_template.jinja"
        )
    _check_template(chat, f"{what} {folder}")
    _check_head(chat, folder, what)
    require_finite(chat, f"{what} {folder}")
    return chat


def require_mergeable(folder: Path) -> None:
    """Refuse quantised weights: a change is not added to them without making all of them anew, nor are they read.

    Raises:
        PatchFailed: They are quantised.
        CheckpointError: ``config.json`` can't be read.
    """
    if read_config(full_checkpoint(folder)).get("quantization_config"):
        raise PatchFailed(
            f"{folder} holds quantised weights, into which no patch can be merged; ask for the form adapter of a "
            "recipe that works beside the weights (one-shot-subspace, few-shot-subspace or kept-subspace), or give the "
            "checkpoint from before it was quantised"
        )


def _check_template(chat: ChatModel, where: str) -> None:
    """Render it for two requests, which have to come out as two: a template is a program, and may raise anything."""
    mended = "mend chat_template.jinja, or copy it again from the model that it was fine-tuned with"
    try:
        one, other = map(chat.prompt_ids, ("How are you?", "What is the time?"))
    except (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise PatchFailed(f"{where}: its chat template can't be rendered ({_first_line(error)}); {mended}") from error
    if not one or one == other:
        raise PatchFailed(f"{where}: its chat template leaves out what the user says; {mended}")


def _check_head(chat: ChatModel, folder: Path, what: str) -> None:
    """Refuse an output head that the configuration ties and the files do not: servers tie it, transformers does not."""
    model = chat.model
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None:
        raise CheckpointError(f"{what} {folder}: the model has no output head; give a causal language model")
    if model.config.get_text_config().tie_word_embeddings and head.weight is not embeddings.weight:
        raise CheckpointError(
            f"{what} {folder}: config.json ties the output head to the embeddings, but the weights hold another one; "
            "set tie_word_embeddings to false, or leave the tensor out"
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
