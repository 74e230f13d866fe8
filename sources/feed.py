"""What a transport of messages has to do to be a source: one class for each, behind `sources.pulled`."""

from __future__ import annotations

from typing import Protocol

from schemas.messages import Message
from sources.finished import Finished


class Feed(Protocol):
    """One partition of a transport, used by one thread. No method waits for the network longer than a moment."""

    def start(self, offset: int | None) -> None:
        """Begins at this offset, or with None where the transport says that unfinished work begins.

        Raises RuntimeError with what to do about it if there is nothing at that offset any more.
        """

    def pull(self) -> list[Message]:
        """The next messages, in order, none while there are none. Raises what the transport reports."""

    @property
    def position(self) -> int | None:
        """The offset after the last message that `pull` has looked at, whether it gave it or not; None before."""

    def committed(self, offset: int) -> None:
        """All that is below this offset is in the recovery store: a transport of leases acknowledges it."""

    def finished(self, finished: Finished) -> None:
        """So much is finished, its effects durable: a transport of offsets commits it."""

    def retry(self, offset: int | None, delay_s: float) -> None:
        """Gives back what was pulled from this offset on (None: all), to be delivered again after a while."""

    def close(self) -> None:
        """Ends the connection; what was acknowledged or committed before is sent."""
