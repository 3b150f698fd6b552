"""The folder of a patch, while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from deploy.durable import new_folder

__all__ = ["new_patch"]


@contextmanager
def new_patch(output: Path, more: Callable[[Path], None]) -> Iterator[Path]:
    """Give a scratch folder that becomes ``output`` in one rename, or vanishes on any error.

    Args:
        more: Writes further files into the folder when the rest is there.

    Raises:
        CheckpointError: The disk is full or the place can't be written. Safetensors has an error of its own for that,
            which is none of the system's.
    """
    with new_folder(output) as folder:
        try:
            yield folder
        except SafetensorError as error:
            raise OSError(str(error)) from error
        more(folder)
