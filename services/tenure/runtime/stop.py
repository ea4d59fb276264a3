"""SIGTERM, SIGINT and SIGHUP as an event that a composition root waits for.

The first signal sets the event: finish what runs and end. The second one calls back: whoever sends it does not want to
wait. Only roots use this; everything below them is told to stop by its owner.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# SIGHUP comes when a terminal goes away. `nohup` has it ignored, and then it stays so.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stop_on_signals(on_second: Callable[[], None] | None = None) -> Iterator[asyncio.Event]:
    """An event that one of these signals sets; inside a running loop, in the main thread.

    Args:
        on_second: called, in the loop, at every further SIGTERM or SIGINT. When left out, those change nothing.

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
    before = [(number, handler) for number, handler in before if number != signal.SIGHUP or handler is signal.SIG_DFL]
    for number, _ in before:
        # A terminal that goes away may say so twice, through the kernel and through the shell: no sign of impatience.
        loop.add_signal_handler(number, stop.set if number == signal.SIGHUP else arrived)
    try:
        yield stop
    finally:
        for number, handler in before:
            loop.remove_signal_handler(number)
            # A handler that was not installed from Python is None and cannot be put back.
            if handler is not None:
                signal.signal(number, handler)
