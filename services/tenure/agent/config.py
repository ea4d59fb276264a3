"""What a worker is started with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """All settings of one worker process.

    Attributes:
        server: HOST:PORT of the control plane.
        token: gives the bearer token, each time one is needed; None: none is sent.
        tls: certificates (PEM) to trust; True: those of this machine; False: no TLS.
        queues: what it serves, 1 to 64.
        slots: attempts at once, 1 to 1024.
        work_dir: its lock, its id and the folders of attempts; for this worker alone.
        worker_id: None: the one kept in `work_dir`, made at the first start.
        allowed_roots: absolute folders below which jobs may use absolute sync paths.
        passed: variables that every job gets, by name.
        preemption_file: when this file appears, the machine is about to be taken away.
        labels: for people and filters.
        environment: the process's own environment: PATH, LANG and the object store's AWS_* variables are read from it.
    """

    server: str
    token: Callable[[], str | None]
    tls: bytes | bool = False
    queues: tuple[str, ...]
    slots: int
    work_dir: Path
    worker_id: str | None = None
    allowed_roots: tuple[str, ...] = ()
    passed: Mapping[str, str] = field(default_factory=dict)
    preemption_file: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str]
