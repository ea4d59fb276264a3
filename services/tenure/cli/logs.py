"""`tenure jobs logs`: what a job's command printed, or prints.

To a pipe the bytes go as they are. A terminal obeys escapes, so it gets text without them.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Annotated

import typer

from tenure.cli.answer import as_dict, as_line
from tenure.cli.session import Output, Session
from tenure.cli.text import clean
from tenure.v1 import job_pb2, job_service_pb2

NOTHING_YET = "there is no output yet"
NO_ATTEMPT = "no attempt has begun, so there is no output"


def logs(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job.")],
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Of this attempt; of the latest where not given.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it prints, and with the attempts after this one.")
    ] = False,
    from_offset: Annotated[int, typer.Option(min=0, help="Begin at this byte of the output.")] = 0,
) -> None:
    """Show what a job's command prints, standard output and standard error as they come.

    Of a running attempt the worker has the last 256 KiB, of one that has ended the last 64 KiB are kept. With --follow
    it goes on until the job has ended, or with --attempt until the attempt has. With -o json each piece is one line,
    its bytes in base64.
    """
    printer = _Printer(session, from_offset)
    wanted, only = attempt, attempt is not None
    with suppress(KeyboardInterrupt):
        while True:
            pieces = session.client.follow_logs(
                job_id, attempt=wanted, from_offset=from_offset, snapshot=not follow, on_drop=session.dropped
            )
            with closing(pieces):
                shown = printer.show(pieces)
            if not follow and not from_offset:
                printer.tell_of_nothing(shown, attempt)
            if not follow or only or not shown or _over(session, job_id):
                return
            wanted, from_offset = shown + 1, 0


def _over(session: Session, job_id: str) -> bool:
    """Whether the job has ended, so that no attempt comes any more."""
    job = session.client.retrieve_job(job_id)
    return job.status.outcome != job_pb2.JOB_OUTCOME_UNSPECIFIED


class _Printer:
    """Puts output on standard output, and on standard error what is missing of it."""

    def __init__(self, session: Session, from_offset: int) -> None:
        self._session = session
        self._next = from_offset
        self._attempt = 0
        self._silent = True
        self._heard = False
        self._begin = codecs.getincrementaldecoder("utf-8")
        self._decoder = self._begin("replace")

    def show(self, pieces: Iterable[job_service_pb2.FollowLogsResponse]) -> int:
        """Print the pieces of one attempt; its number, 0: there was none."""
        number = 0
        for piece in pieces:
            number, self._heard = piece.attempt, True
            if self._attempt and not number:
                break  # The job has ended, which is not news of an attempt after the one that was shown.
            if self._attempt not in (0, number):
                self._next = 0
            self._attempt = number
            self._silent = self._silent and not piece.data
            if self._session.output is not Output.TABLE:
                self._session.write(as_line(as_dict(piece)))
            else:
                self._print(piece)
            self._session.flush()
        return number

    def tell_of_nothing(self, number: int, wanted: int | None) -> None:
        """Say to a person, where nothing at all was printed, that this is all there is.

        Args:
            number: of the attempt that was shown; 0: none was.
            wanted: of the attempt that was asked for; None: of the latest.
        """
        if not self._silent or self._session.output is not Output.TABLE:
            return
        if number:
            said = f"attempt {number} has printed nothing that is kept"
        elif not self._heard:
            said = NOTHING_YET
        else:
            said = f"there was no attempt {wanted}, so there is no output" if wanted else NO_ATTEMPT
        sys.stderr.write(f"tenure: {said}\n")

    def _print(self, piece: job_service_pb2.FollowLogsResponse) -> None:
        if piece.data and piece.offset > self._next:
            missing = f"bytes {self._next} to {piece.offset - 1} of attempt {piece.attempt} are not kept"
            sys.stderr.write(f"tenure: {missing}\n")
        self._next = piece.offset + len(piece.data)
        if sys.stdout.isatty():
            text = self._decoder.decode(piece.data, final=piece.end)
            if piece.end:
                self._decoder = self._begin("replace")
            sys.stdout.write(_harmless(text))
        else:
            # Not through the text layer: these bytes need not be text.
            sys.stdout.buffer.write(piece.data)


def _harmless(text: str) -> str:
    """Text for a terminal: of what moves the cursor only line ends and tabs are left."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("\t".join(clean(part) for part in line.split("\t")) for line in lines)
