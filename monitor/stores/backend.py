"""What differs from one kind of database to the next."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from monitor.errors import StoreError

__all__ = ["Backend"]


class Backend(Protocol):
    """A kind of database, at one place.

    Attributes:
        name: What messages call the place; never with a password.
        engine: Begins transactions that read.
        writer: Begins transactions that write, one at a time among all processes.
    """

    name: str
    engine: Engine
    writer: Engine

    def prepare(self) -> None:
        """Make the place where it is to lie.

        Raises:
            StoreError: It can't be made.
        """
        ...

    def expect(self) -> None:
        """Refuse to make what is only to be looked at.

        Raises:
            StoreError: It is not there.
        """
        ...

    def hold(self) -> None:
        """Take the place for this process until it ends, however it ends.

        Raises:
            StoreBusy: Another daemon has it.
        """
        ...

    def close(self) -> None:
        """Let go of the place and close all connections."""
        ...

    def faults_within(self, db: Connection) -> list[str]:
        """Name what is damaged."""
        ...

    def unreachable(self, error: DBAPIError) -> bool:
        """Tell whether it can't even be asked, which may take seconds to find out again."""
        ...

    def fault(self, error: DBAPIError) -> StoreError:
        """Say what went wrong and what to do."""
        ...
