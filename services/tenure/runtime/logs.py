"""Log records: an event word and fields, as in `log.info("lease_expired", job_id=…, silence_s=60)`.

Only composition roots call `configure`; everybody else takes a logger from `get_logger` and says what happened. Without
`configure` nothing below a warning is shown, so that a library user or a test is not spoken to. Records go to standard
error; standard output belongs to what a command answers. A record that cannot be written is nobody's error.
"""

from __future__ import annotations

import atexit
import logging
import sys
from enum import StrEnum
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from tenure.runtime.lines import Lines, LineWriter, StreamLines

# What the end of a process waits for its last records; a terminal that is stopped keeps nobody.
FLUSH_S = 1.0

Logger = FilteringBoundLogger


class LogFormat(StrEnum):
    """How records are written."""

    AUTO = "auto"  # console on a terminal, json elsewhere
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on records are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_NUMBERS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


def get_logger(name: str) -> Logger:
    """A logger whose records carry `component=<name>`; cheap, made at import time like a standard logger."""
    return cast(Logger, structlog.get_logger(component=name))


def configure(
    level: LogLevel | str = LogLevel.INFO,
    format: LogFormat | str = LogFormat.AUTO,  # noqa: A002 - the flag's name
    stream: TextIO | None = None,
) -> None:
    """Decide how this process writes its records. Called once, by a composition root.

    Args:
        level: debug, info, warning or error.
        format: console (for people), json (one object a line) or auto.
        stream: where to; standard error when left out.

    Raises:
        ValueError: the level or the format is none of those.
    """
    # None: its starter has closed it.
    target: TextIO | None = sys.stderr if stream is None else stream
    terminal = target is not None and target.isatty()
    shape = LogFormat(format)
    if shape is LogFormat.AUTO:
        shape = LogFormat.CONSOLE if terminal else LogFormat.JSON
    number = _NUMBERS[LogLevel(level)]
    lines = _lines(target)
    structlog.configure(
        processors=_processors(shape, colors=terminal),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
        # False, so that loggers made before this call at import time follow it too.
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard module: warnings and worse of theirs take the same road.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_ToStructlog()], force=True)


def flush(seconds: float = FLUSH_S) -> None:
    """Wait until the records of this process have been written, at most so long."""
    lines = structlog.get_config()["logger_factory"]()
    if isinstance(lines, LineWriter):
        lines.flush(seconds)


def _lines(target: TextIO | None) -> Lines:
    try:
        descriptor = target.fileno() if target is not None else None
    except OSError:
        descriptor = None  # a stream in memory
    if descriptor is None:
        return StreamLines(target)
    atexit.unregister(flush)
    atexit.register(flush)
    return LineWriter(descriptor)


def _processors(shape: LogFormat, *, colors: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    if shape is LogFormat.CONSOLE:
        return [
            *shared,
            structlog.dev.ConsoleRenderer(
                colors=colors,
                timestamp_key="time",
                # Never the values of local variables: they may be secrets.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    return [*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


class _ToStructlog(logging.Handler):
    """Hands records of the standard module on as `library_log`."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(record.name)
        method = log.error if record.levelno >= logging.ERROR else log.warning
        method("library_log", message=record.getMessage(), exc_info=record.exc_info)


# Before (and without) `configure`: quiet, and never on standard output.
structlog.configure(
    processors=_processors(LogFormat.CONSOLE, colors=False),
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    logger_factory=lambda *_: StreamLines(sys.stderr),
    cache_logger_on_first_use=False,
)
