"""One asyncio loop on a thread of its own, where stages' coroutines run beside the dataflow's threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """Started once in a process, after the process pools' server; a context manager that closes it.

    Closing cancels every task and waits for their ends, so that pooled processes are ended too.
    """

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="stages", daemon=True)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def start(self) -> Loop:
        """Starts the thread, and returns once the loop runs."""
        self._thread.start()
        self._ready.wait()
        return self

    @property
    def running(self) -> bool:
        """Whether work can still end."""
        return self._thread.is_alive()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Calls a function on the loop's thread soon. Raises RuntimeError once the loop is closed."""
        self._loop.call_soon_threadsafe(function, *args)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Runs a coroutine and waits for its result; not to be called on the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def close(self) -> None:
        """Cancels what still runs, waits for it, and ends the thread. Closing twice changes nothing."""
        if self._thread.is_alive():
            self.call(self._stop.set)
            self._thread.join()

    def __enter__(self) -> Loop:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()
