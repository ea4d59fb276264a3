"""The outputs of the memory engine."""

from __future__ import annotations

from collections.abc import Iterable

from tenure.store.outputs import KeptOutput


class MemoryOutputs:
    """`Outputs` in this process's memory; see there for what the methods promise."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], KeptOutput] = {}

    async def keep(self, outputs: Iterable[KeptOutput]) -> None:
        """See `Outputs.keep`."""
        for output in outputs:
            known = self._kept.get((output.job_id, output.attempt))
            if known is None or known.end <= output.end:
                self._kept[output.job_id, output.attempt] = output

    async def find(self, job_id: str, attempt: int) -> KeptOutput | None:
        """See `Outputs.find`."""
        return self._kept.get((job_id, attempt))
