"""SIGTERM and SIGINT as an event that a composition root waits for.

The first signal sets the event: finish what runs and end. The second one calls back: whoever sends it does not want to
wait. Only roots use this; everything below them is told to stop by its owner.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(on_second: Callable[[], None] | None = None) -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets; inside a running loop, in the main thread.

    Args:
        on_second: called, in the loop, at every further signal. When left out, further signals change nothing.

    Yields:
        The event. Afterwards the signals do again what they did before.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def arrived() -> None:
        if not stop.is_set():
            stop.set()
        elif on_second is not None:
            on_second()

    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    for number in _SIGNALS:
        loop.add_signal_handler(number, arrived)
    try:
        yield stop
    finally:
        for number, handler in before:
            loop.remove_signal_handler(number)
            # A handler that was not installed from Python is None and cannot be put back.
            if handler is not None:
                signal.signal(number, handler)
