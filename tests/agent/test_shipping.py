"""Output is shipped while the server asks for it, and only then; the last of it goes with the outcome."""

from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import pairwise
from pathlib import Path

import pytest

from tenure.agent.holding import REPORT_BYTES, Owed, messages_of
from tenure.agent.output import KEPT_BYTES, RING_BYTES
from tenure.agent.shipping import ShippingStream, ShippingTransport
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.bench import Bench, PlayedCopying
from tests.agent.conftest import Eventually
from tests.agent.fake_server import Session, Shipment, assignment

pytestmark = pytest.mark.processes

# Prints one byte after the other of a text in which every line says at which offset it begins.
FLOOD = "import sys\nfor n in range(0, {bytes}, 64): sys.stdout.write('%063d\\n' % n)"
# Prints a word whenever a file with its number comes to be, and ends after the last one.
WORDS = """
import pathlib, sys, time
for number, word in enumerate(sys.argv[2:]):
    while not pathlib.Path(sys.argv[1], str(number)).exists():
        time.sleep(0.01)
    print(word, end="", flush=True)
"""


def flood(size: int) -> pb.Assignment:
    return assignment(command="python3", arguments=("-c", FLOOD.format(bytes=size)))


def at(offset: int, length: int) -> bytes:
    """What FLOOD prints there."""
    first = offset - offset % 64
    text = b"".join(b"%063d\n" % n for n in range(first, offset + length, 64))
    return text[offset - first :][:length]


class Words:
    """A job that prints words when it is told to."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._folder = folder / "words"
        self._folder.mkdir()
        self.assignment = assignment(command="python3", arguments=("-c", WORDS, str(self._folder), *words))

    def say(self, number: int) -> None:
        (self._folder / str(number)).touch()


class Remembering:
    """Knows which of the calls that it opened are still there."""

    def __init__(self, inner: ShippingTransport) -> None:
        self._inner = inner
        self.opened: list[weakref.ref[ShippingStream]] = []

    async def open_shipping(self) -> ShippingStream:
        stream = await self._inner.open_shipping()
        self.opened.append(weakref.ref(stream))
        return stream


async def connected(bench: Bench) -> Session:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    return session


async def shipping(bench: Bench, session: Session, from_offset: int = 0) -> Shipment:
    """The call that a worker opens when it is asked for `lease-1`."""
    await session.follow("lease-1")
    shipment = await bench.server.shipment()
    assert shipment.lease_id == "lease-1"
    await shipment.begin(from_offset)
    return shipment


async def test_nothing_is_shipped_unasked_and_the_last_of_it_goes_with_the_outcome(bench: Bench) -> None:
    session = await connected(bench)
    await session.started(flood(1_000_000))
    item = await session.reported("succeeded")
    assert bench.server.no_shipment()
    assert item.output_offset + len(item.output_tail) == 999_999 + 1
    assert item.output_tail == at(item.output_offset, KEPT_BYTES)


async def test_no_output_goes_with_started_and_none_with_the_outcome_of_a_command_that_printed_none(
    bench: Bench,
) -> None:
    session = await connected(bench)
    await session.assign(assignment())
    await session.accepted()
    assert (await session.reported("started")).output_tail == b""
    item = await session.reported("succeeded")
    assert (item.output_tail, item.output_offset) == (b"", 0)


async def test_output_is_shipped_as_it_is_printed_to_its_end(bench: Bench, tmp_path: Path) -> None:
    words = Words(tmp_path, "one ", "two ", "three")
    session = await connected(bench)
    await session.started(words.assignment)
    words.say(0)
    shipment = await shipping(bench, session)
    await shipment.until(lambda: shipment.data() == b"one ")
    words.say(1)
    await shipment.until(lambda: shipment.data() == b"one two ")
    assert shipment.pieces[-1].printed == 8
    words.say(2)
    last = await shipment.end()
    assert shipment.data() == b"one two three"
    assert (last.offset + len(last.data), last.printed) == (13, 13)
    shipment.over.set()
    assert (await session.reported("succeeded")).output_tail == b"one two three"


async def test_what_an_attempt_will_print_can_be_asked_for_before_its_command_starts(bench: Bench) -> None:
    copying = bench.copying = PlayedCopying()
    copying.hold("before")
    session = await connected(bench)
    await session.assign(assignment(command="echo", arguments=("hello",)))
    await session.accepted()
    shipment = await shipping(bench, session)
    await shipment.until(lambda: shipment.pieces)
    assert [(piece.data, piece.printed, piece.end) for piece in shipment.pieces] == [(b"", 0, False)]
    copying.open["before"].set()
    await session.reported("started")
    await shipment.end()
    assert shipment.data() == b"hello\n"


async def test_an_attempt_whose_command_never_starts_ends_its_output(bench: Bench) -> None:
    copying = bench.copying = PlayedCopying()
    copying.hold("before")
    session = await connected(bench)
    await session.assign(assignment())
    await session.accepted()
    shipment = await shipping(bench, session)
    await session.revoke()
    assert (await shipment.end()).printed == 0
    await session.reported("stopped")


async def test_a_flood_that_is_not_read_overruns_and_delays_no_beat(bench: Bench) -> None:
    """50 MB are printed while nobody reads them: the command ends, its beats go on, and the offsets jump."""
    session = await connected(bench)
    size = 50 * 1024 * 1024
    await session.assign(flood(size))
    await session.accepted()
    await session.follow("lease-1")
    shipment = await bench.server.shipment()
    shipment.reading.clear()
    await shipment.begin()
    await session.reported("started")
    await session.beat(more=2)
    item = await session.reported("succeeded", answer=False)
    await session.beat(more=2)
    assert item.output_offset == size - KEPT_BYTES
    shipment.reading.set()
    last = await shipment.end()
    pieces = [piece for piece in shipment.pieces if piece.data]
    assert all(before.offset + len(before.data) <= after.offset for before, after in pairwise(pieces))
    assert any(before.offset + len(before.data) < after.offset for before, after in pairwise(pieces))
    assert all(piece.data == at(piece.offset, len(piece.data)) for piece in pieces)
    assert last.offset + len(last.data) == last.printed == size
    await session.answer_report(item)


async def test_a_flood_that_is_read_comes_in_order(bench: Bench) -> None:
    session = await connected(bench)
    await session.assign(flood(20 * 1024 * 1024))
    await session.accepted()
    shipment = await shipping(bench, session)
    await session.reported("started")
    await shipment.end()
    pieces = [piece for piece in shipment.pieces if piece.data]
    assert all(before.offset + len(before.data) <= after.offset for before, after in pairwise(pieces))
    assert all(piece.data == at(piece.offset, len(piece.data)) for piece in pieces)
    assert max(len(piece.data) for piece in pieces) <= 64 * 1024


async def test_who_asks_late_gets_what_the_ring_has(bench: Bench, eventually: Eventually) -> None:
    copying = bench.copying = PlayedCopying()
    copying.hold("after")
    session = await connected(bench)
    await session.started(flood(1_000_000))
    await eventually(lambda: "after" in copying.steps)
    shipment = await shipping(bench, session)
    await shipment.end()
    assert shipment.pieces[0].offset >= 1_000_000 - RING_BYTES
    first = shipment.pieces[0].offset
    assert shipment.data() == at(first, 1_000_000 - first)
    # And once more, from an offset on, by a call of its own.
    again = await shipping(bench, session, 999_990)
    await again.end()
    assert (again.data(), again.pieces[0].offset) == (at(999_990, 10), 999_990)
    copying.open["after"].set()
    await session.reported("succeeded")


async def test_a_newer_call_takes_the_place_of_an_older_one(bench: Bench, tmp_path: Path) -> None:
    words = Words(tmp_path, "one ", "two")
    session = await connected(bench)
    await session.started(words.assignment)
    words.say(0)
    older = await shipping(bench, session)
    await older.until(lambda: older.data() == b"one ")
    newer = await shipping(bench, session, 2)
    async with asyncio.timeout(20):
        await older.gone.wait()
    words.say(1)
    await newer.end()
    assert newer.data() == b"e two"
    assert older.data() == b"one "


async def test_a_call_that_is_told_to_stop_ends_and_can_be_asked_for_again(bench: Bench, tmp_path: Path) -> None:
    words = Words(tmp_path, "one ", "two")
    session = await connected(bench)
    await session.started(words.assignment)
    shipment = await shipping(bench, session)
    await shipment.stop()
    async with asyncio.timeout(20):
        await shipment.gone.wait()
    words.say(0)
    words.say(1)
    item = await session.reported("succeeded", answer=False)
    assert shipment.data() == b""
    again = await shipping(bench, session)
    await again.end()
    assert again.data() == b"one two"
    await session.answer_report(item)


async def test_a_call_that_fails_harms_nobody(bench: Bench, tmp_path: Path) -> None:
    words = Words(tmp_path, "one")
    session = await connected(bench)
    await session.started(words.assignment)
    await session.follow("nobody's lease", "lease-1")
    shipment = await bench.server.shipment()
    shipment.over.set()  # before it was said where to begin
    await session.beat(more=2)
    words.say(0)
    await session.reported("succeeded")
    assert bench.server.no_shipment()


@pytest.mark.parametrize("how", ["its end", "stop", "break"])
async def test_a_call_that_is_over_is_let_go_of_at_once(
    bench: Bench, tmp_path: Path, eventually: Eventually, how: str
) -> None:
    """gRPC keeps a connection for as long as somebody has the call; garbage is collected when there is enough of it."""
    words = Words(tmp_path, "one")
    session = await connected(bench)
    await session.started(words.assignment)
    shipping_of = bench.running[0][0]._shipping
    assert shipping_of is not None
    shipping_of._transport = remembering = Remembering(shipping_of._transport)
    gc.disable()
    try:
        shipment = await shipping(bench, session)
        if how == "its end":
            words.say(0)
            await shipment.end()
        if how == "stop":
            await shipment.stop()
        else:
            shipment.over.set()
        await eventually(lambda: remembering.opened[0]() is None)
    finally:
        gc.enable()
    words.say(0)
    await session.reported("succeeded")


async def test_a_worker_that_drains_does_not_wait_for_who_reads(bench: Bench, tmp_path: Path) -> None:
    words = Words(tmp_path, "one")
    session = await connected(bench)
    await session.started(words.assignment)
    shipment = await shipping(bench, session)
    shipment.reading.clear()
    bench.running[0][0].drain("test", tell=False)
    await session.reported("released")
    assert await bench.ended()
    async with asyncio.timeout(20):
        await shipment.gone.wait()


def test_reports_that_bring_much_output_along_go_in_several_messages() -> None:
    def owed(number: int, size: int) -> Owed:
        item = pb.Report.Item(lease_id=f"l{number}", succeeded=pb.Succeeded(), output_tail=b"x" * size)
        return Owed(item=item, kind=pb.REPORT_KIND_SUCCEEDED)

    small = messages_of([owed(number, 0) for number in range(1000)])
    assert [len(message.report.items) for message in small] == [1000]
    large = messages_of([owed(number, KEPT_BYTES) for number in range(100)])
    assert sum(len(message.report.items) for message in large) == 100
    assert max(message.ByteSize() for message in large) <= REPORT_BYTES + KEPT_BYTES
    assert len(large) < 10
    assert messages_of([]) == []
