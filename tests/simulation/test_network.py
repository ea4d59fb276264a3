"""The simulated network: late, cut, blocked, half open."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.loop import NS, Schedule
from tests.simulation.network import Connection, Link, Network
from tests.simulation.process import Process, process_of
from tests.simulation.wire import End, Item, Piece


class EndPoint:
    """One end of a connection: what has arrived, when, and when it broke."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.got: list[tuple[float, Item]] = []
        self.broke_s: float | None = None

    def arrived(self, item: Item) -> None:
        self.got.append((self._schedule.now_ns / NS, item))

    def broken(self) -> None:
        self.broke_s = self._schedule.now_ns / NS


class Bench:
    """A server that listens, and a client with a connection."""

    def __init__(self, *, tail: float = 0.0) -> None:
        self.schedule = Schedule()
        self.nature = process_of(self.schedule, "nature")
        self.network = Network(self.schedule, self.nature)
        self.link: Link = self.network.link("c", Random(1), base_s=0.01, tail=tail)
        self.client_process = process_of(self.schedule, "client")
        self.number = 0
        self.process: Process = process_of(self.schedule, "server")
        self.server = EndPoint(self.schedule)
        self.client = EndPoint(self.schedule)
        self.network.listener = self
        self.connection = self.connect()

    def connect(self) -> Connection:
        connection = Connection(self.link, self.client_process, "/x", ())
        connection.client_end = connection.down.receiver = self.client
        return connection

    def accept(self, connection: Connection) -> None:
        connection.server_end = connection.up.receiver = self.server

    def send(self, *texts: str) -> None:
        for text in texts:
            self.connection.up.put(Piece(text.encode()))

    def until(self, seconds: float) -> None:
        over: list[bool] = []
        self.nature.at_virtual(int(seconds * NS), lambda: over.append(True))
        self.schedule.run(lambda: bool(over))

    def heard(self) -> list[str]:
        return [item.raw.decode() for _, item in self.server.got if isinstance(item, Piece)]


def test_a_direction_keeps_its_order_however_late_things_are() -> None:
    bench = Bench(tail=0.3)
    bench.send(*(str(number) for number in range(100)))
    bench.until(60)
    assert bench.heard() == [str(number) for number in range(100)]
    assert bench.server.broke_s is None


def test_a_blocked_direction_holds_back_and_goes_on() -> None:
    bench = Bench()
    bench.send("a")
    bench.until(1)
    bench.link.block(up=True, down=False)
    bench.send("b", "c")
    bench.until(5)
    assert bench.heard() == ["a"]
    bench.link.heal()
    bench.until(6)
    assert bench.heard() == ["a", "b", "c"]
    bench.until(60)
    assert [bench.client.broke_s, bench.server.broke_s] == [None, None]


@pytest.mark.parametrize(("up", "down"), [(True, False), (False, True), (True, True)])
def test_a_block_that_lasts_ends_in_the_keepalive_of_both_ends(up: bool, down: bool) -> None:
    bench = Bench()
    bench.send("a")
    bench.until(1)
    bench.link.block(up=up, down=down)
    bench.until(30)
    for end in (bench.client, bench.server):
        assert end.broke_s is not None
        assert 1 < end.broke_s < 18
    assert bench.connection.dead
    assert not bench.link.connections


def test_a_cut_is_told_to_both_and_loses_what_was_on_its_way() -> None:
    bench = Bench()
    bench.send("a")
    bench.until(1)
    bench.send("b")
    bench.link.cut()
    bench.until(2)
    assert bench.client.broke_s is not None
    assert bench.server.broke_s is not None
    assert set(bench.heard()) <= {"a", "b"}


def test_a_killed_server_refuses_and_a_dead_machine_says_nothing() -> None:
    for silently in (False, True):
        bench = Bench()
        bench.send("a")
        bench.until(1)
        bench.process.kill()
        bench.network.listener, bench.network.off = None, silently
        bench.network.gone(bench.process, silently=silently)
        bench.until(40)
        first, bench.client = bench.client, EndPoint(bench.schedule)
        assert first.broke_s is not None
        assert (first.broke_s > 5) is silently
        bench.connect().up.put(Piece(b"x"))
        bench.until(80)
        assert bench.client.broke_s is not None
        assert (bench.client.broke_s > 45) is silently


def test_a_frozen_peer_is_given_up_and_one_whose_loop_stands_still_is_not() -> None:
    for deaf in (True, False):
        bench = Bench()
        bench.send("a")
        bench.until(1)
        bench.process.freeze(deaf=deaf)
        if deaf:
            bench.network.frozen(bench.process)
        bench.until(40)
        assert (bench.client.broke_s is not None) is deaf


def test_there_is_room_for_a_number_of_items() -> None:
    bench = Bench()
    bench.connection = Connection(bench.link, bench.client_process, "/x", (), room=2)
    bench.connection.client_end = bench.connection.down.receiver = bench.client
    bench.send("a")
    bench.until(1)
    sent: list[int] = []

    async def pour() -> None:
        for number in range(5):
            await bench.connection.down.send(Piece(b"x"))
            sent.append(number)

    bench.process.call_soon(lambda: bench.process.create_task(pour()))
    bench.until(2)
    assert sent == [0, 1]
    bench.connection.down.taken()
    bench.until(3)
    assert sent == [0, 1, 2]


def test_the_end_of_a_direction_arrives_last() -> None:
    bench = Bench()
    bench.send("a")
    bench.connection.up.put(End())
    bench.until(1)
    assert [type(item) for _, item in bench.server.got] == [Piece, End]
