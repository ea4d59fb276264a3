"""What is to be sent to one worker, merged: however much gathers while a message is on its way, the next ones carry it
as lists.

What was not sent yet can still be taken back: once a lease is over, nothing leaves any more that calls it held.
"""

from __future__ import annotations

from collections.abc import Iterator

from tenure.v1 import worker_service_pb2 as pb

# A message with assignments is closed when their specifications have so many bytes: far below what peers take.
ASSIGNMENTS_BYTES = 1024 * 1024

_HELD = pb.LEASE_STATE_HELD
_LOST = pb.LEASE_STATE_LOST


class Outbox:
    """Messages of the server to one worker. All methods are plain; whoever sends them calls `take`."""

    __slots__ = (
        "_accepts",
        "_assignments",
        "_beats",
        "_deadlines",
        "_direct",
        "_follows",
        "_repeats",
        "_reports",
        "_stops",
    )

    def __init__(self) -> None:
        self._direct: list[pb.ConnectResponse] = []
        self._assignments: dict[str, tuple[pb.Assignment, int]] = {}
        self._accepts: dict[str, pb.AcceptAck.Item] = {}
        # Leases that wait in `_accepts` and of which the worker may know already that it holds them.
        self._repeats: set[str] = set()
        self._beats: list[pb.HeartbeatAck.Item] | None = None
        self._reports: dict[tuple[str, int], pb.ReportAck.Item] = {}
        self._deadlines: dict[str, pb.DeadlineChanged.Item] = {}
        self._stops: dict[str, pb.Stop.Item] = {}
        self._follows: dict[str, None] = {}

    def __len__(self) -> int:
        """How many items wait."""
        beats = 0 if self._beats is None else len(self._beats) + 1
        return (
            len(self._direct)
            + len(self._assignments)
            + len(self._accepts)
            + beats
            + len(self._reports)
            + len(self._deadlines)
            + len(self._stops)
            + len(self._follows)
        )

    def direct(self, message: pb.ConnectResponse) -> None:
        """A message that is not merged; those go first."""
        self._direct.append(message)

    def assign(self, assignment: pb.Assignment, size: int) -> None:
        """A job to run; `size` is about its bytes."""
        self._assignments[assignment.lease_id] = assignment, size

    def accepted(self, item: pb.AcceptAck.Item, *, known: bool = False) -> None:
        """Answer to an Accept; `known`: one that was given before, perhaps on another stream."""
        if known and item.lease_id not in self._accepts:
            self._repeats.add(item.lease_id)
        self._accepts[item.lease_id] = item

    def heard(self, items: list[pb.HeartbeatAck.Item]) -> None:
        """Answer to a Heartbeat; also one without beats is answered."""
        if self._beats is None:
            self._beats = items
        else:
            self._beats.extend(items)

    def reported(self, item: pb.ReportAck.Item) -> None:
        """Answer to a Report."""
        self._reports[item.lease_id, item.kind] = item

    def deadline(self, item: pb.DeadlineChanged.Item) -> None:
        """A deadline has moved: a warning of the old one that was not sent is void."""
        self._deadlines[item.lease_id] = item
        stop = self._stops.get(item.lease_id)
        if stop is not None and stop.reason == pb.STOP_REASON_EXPIRING:
            del self._stops[item.lease_id]

    def stop(self, item: pb.Stop.Item) -> None:
        """An attempt is to stop; a later order replaces an earlier one."""
        self._stops[item.lease_id] = item

    def follow(self, lease_id: str) -> None:
        """Somebody follows the output of an attempt."""
        self._follows[lease_id] = None

    def take_back_assignment(self, lease_id: str) -> bool:
        """Do not send this assignment; False: it has been sent, or there was none."""
        return self._assignments.pop(lease_id, None) is not None

    def take_back_held(self, lease_id: str) -> bool:
        """The lease is over: turn what waits to be sent from held into lost; whether that was the first answer to its
        Accept, so that the worker was never told that it may begin."""
        started = lease_id, pb.REPORT_KIND_STARTED
        if (report := self._reports.get(started)) is not None and report.state == _HELD:
            self._reports[started] = pb.ReportAck.Item(lease_id=lease_id, state=_LOST, kind=pb.REPORT_KIND_STARTED)
        for beat in self._beats or ():
            if beat.lease_id == lease_id and beat.state == _HELD:
                beat.state = _LOST
        self._deadlines.pop(lease_id, None)
        self._stops.pop(lease_id, None)
        if (accept := self._accepts.get(lease_id)) is not None and accept.state == _HELD:
            self._accepts[lease_id] = pb.AcceptAck.Item(lease_id=lease_id, state=_LOST)
            return lease_id not in self._repeats
        return False

    def take(self) -> Iterator[pb.ConnectResponse]:
        """Everything that waits, as few messages, in an order in which later ones never contradict earlier ones. What
        a message has is taken when it is asked for: until then it can be taken back."""
        direct, self._direct = self._direct, []
        yield from direct
        yield from self._take_assignments()
        if self._accepts:
            accepts, self._accepts, self._repeats = self._accepts, {}, set()
            yield pb.ConnectResponse(accept_ack=pb.AcceptAck(items=accepts.values()))
        if self._beats is not None:
            beats, self._beats = self._beats, None
            yield pb.ConnectResponse(heartbeat_ack=pb.HeartbeatAck(items=beats))
        if self._reports:
            reports, self._reports = self._reports, {}
            yield pb.ConnectResponse(report_ack=pb.ReportAck(items=reports.values()))
        if self._deadlines:
            deadlines, self._deadlines = self._deadlines, {}
            yield pb.ConnectResponse(deadline_changed=pb.DeadlineChanged(items=deadlines.values()))
        if self._stops:
            stops, self._stops = self._stops, {}
            yield pb.ConnectResponse(stop=pb.Stop(items=stops.values()))
        if self._follows:
            follows, self._follows = self._follows, {}
            yield pb.ConnectResponse(follow_output=pb.FollowOutput(lease_ids=follows))

    def _take_assignments(self) -> Iterator[pb.ConnectResponse]:
        while self._assignments:
            message, room = pb.ConnectResponse(), ASSIGNMENTS_BYTES
            for assignment, size in self._assignments.values():
                if message.assignments.items and size > room:
                    break
                message.assignments.items.append(assignment)
                room -= size
            for assignment in message.assignments.items:
                del self._assignments[assignment.lease_id]
            yield message
