"""Model names and what they mean: vLLM's own table of adapters, with the public names steered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.exceptions import HTTPException

__all__ = ["Halted", "Names"]


class Halted:
    """In place of an adapter: the public names answer 503, for this reason."""

    def __init__(self, why: str) -> None:
        """Take the reason, for users to read."""
        self.why = why


class Names(dict[object, object]):
    """Takes the place of ``OpenAIServingModels.lora_requests``, which vLLM asks before the base model's names.

    The public names, and no name at all, mean ``aim``: an adapter, the base (``None``) or nothing (``Halted``).
    One assignment steers all of them at once; a request that was looked up before keeps what it got. All other
    entries are as in the plain dictionary, and listing it shows those alone.
    """

    __slots__ = ("_public", "aim")

    def __init__(self, own: Mapping[str, object], *, public: Iterable[str]) -> None:
        """Take the table as it was, and the names to steer."""
        super().__init__(own.items())
        self._public = frozenset(public)
        self.aim: object | None = None

    def __contains__(self, name: object) -> bool:
        """Whether a name means an adapter now."""
        return super().__contains__(name) or (self.aim is not None and self._steered(name))

    def __missing__(self, name: object) -> object:
        """Return what a public name means now.

        Raises:
            HTTPException: 503 while nothing may answer for it.
        """
        if self.aim is None or not self._steered(name):
            raise KeyError(name)
        if isinstance(self.aim, Halted):
            raise HTTPException(503, self.aim.why, headers={"Retry-After": "5"})
        return self.aim

    def own(self, name: str) -> object | None:
        """Return the adapter that is loaded under exactly this name."""
        return super().get(name)

    def _steered(self, name: object) -> bool:
        return not name or name in self._public
