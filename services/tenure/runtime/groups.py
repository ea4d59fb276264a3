"""Task groups that do not forget that they were cancelled."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Self

# Until then asyncio's group leaves a cancellation of its own behind when a task fails while it waits at its end.
_LEAVES_ITS_OWN = sys.version_info < (3, 13)


class TaskGroup(asyncio.TaskGroup):
    """`asyncio.TaskGroup`, out of which whoever is cancelled gets CancelledError, whatever its tasks did meanwhile.

    With asyncio's the errors of tasks come first, and before Python 3.13 the cancellation is forgotten over them: who
    goes on after errors, as one who repeats an upload, would go on although it was told to end, and whoever waits for
    its end would wait for ever. Asking again at the next `await`, as 3.13 does, is nothing that a time limit around it
    could take back before 3.13.
    """

    _parent_cancel_requested: bool  # asyncio's own; read only where _LEAVES_ITS_OWN

    async def __aenter__(self) -> Self:
        self._cancelled_before = _cancellations()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the tasks.

        Raises:
            CancelledError: cancelled from outside; errors of tasks are its cause.
            BaseExceptionGroup: errors of tasks, otherwise.
        """
        taken_back = _LEAVES_ITS_OWN and self._parent_cancel_requested
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as errors:
            if kind is GeneratorExit:
                raise  # it is thrown away unfinished, by no task or by anybody's
            own = _LEAVES_ITS_OWN and self._parent_cancel_requested and not taken_back
            if own:
                _task().uncancel()
            if _cancellations() > self._cancelled_before:
                raise asyncio.CancelledError from errors
            raise


def _task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _cancellations() -> int:
    return _task().cancelling()
