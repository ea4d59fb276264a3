"""An object store that misbehaves on demand: a proxy before a real one.

It speaks HTTP and passes everything on as it is (the Host header too, which is signed), except what a test wants
refused, failed, held back or cut off. Runs in threads of its own, one for each connection.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

DENIED = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
SLOW_DOWN = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>later</Message></Error>'
HOLD_S = 60.0


@dataclass
class Seen:
    """A request that was answered; times are seconds since the epoch."""

    method: str
    path: str
    status: int
    began: float
    ended: float


@dataclass
class Held:
    """A request that is kept from the store: `arrived` once it is there, and it goes on after `release`."""

    method: str
    part: str
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let it, and all like it, go on."""
        self.released.set()


class FaultyStore:
    """The proxy; `endpoint_url` is its address. Faults are matched by method and a part of the decoded path."""

    def __init__(self, target_url: str, *, host: str = "127.0.0.1") -> None:
        self.seen: list[Seen] = []
        self.down = False
        self._target = urlsplit(target_url).netloc
        self._lock = threading.Lock()
        self._refused: list[tuple[str, str]] = []
        self._failing: list[list[object]] = []
        self._held: list[Held] = []
        self._rewritten: list[tuple[str, bytes, bytes]] = []
        store = self

        class Handler(_Handler):
            proxy = store

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.endpoint_url = f"http://{host}:{self._server.server_address[1]}"

    def close(self) -> None:
        """End it; held requests go on."""
        self.heal()
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """No more faults."""
        with self._lock:
            self.down = False
            self._refused.clear()
            self._failing.clear()
            self._rewritten.clear()
            held, self._held = self._held, []
        for one in held:
            one.release()

    def refuse(self, method: str, part: str) -> None:
        """403 from now on."""
        self._refused.append((method, part))

    def fail(self, method: str, part: str, times: int) -> None:
        """503, so many times."""
        self._failing.append([method, part, times])

    def hold(self, method: str, part: str) -> Held:
        """Keep such requests back from now on."""
        held = Held(method, part)
        self._held.append(held)
        return held

    def rewrite(self, part: str, old: bytes, new: bytes) -> None:
        """Replace bytes in the answers to such GETs."""
        self._rewritten.append((part, old, new))

    def count(self, method: str, part: str, *, status: int = 200) -> int:
        """How many such requests were answered with that status."""
        return sum(one.method == method and part in one.path and one.status == status for one in list(self.seen))

    # --- for the handler ----------------------------------------------------------------------------------------------

    def fault(self, method: str, path: str) -> tuple[int, bytes] | None:
        """The answer to give instead of the store's, if any; waits while the request is held."""
        for held in list(self._held):
            if held.method == method and held.part in path and not held.released.is_set():
                held.arrived.set()
                held.released.wait(HOLD_S)
        with self._lock:
            if any(method == one and part in path for one, part in self._refused):
                return 403, DENIED
            for failing in self._failing:
                one, part, times = failing
                assert isinstance(part, str)
                assert isinstance(times, int)
                if method == one and part in path and times > 0:
                    failing[2] = times - 1
                    return 503, SLOW_DOWN
        return None

    def ask(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The store's own answer."""
        connection = http.client.HTTPConnection(self._target, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = response.read()
            for part, old, new in self._rewritten:
                if method == "GET" and part in unquote(path):
                    data = data.replace(old, new)
            return response.status, response.getheaders(), data
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyStore
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _pass_on(self) -> None:
        began = time.time()
        path = unquote(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.proxy.fault(self.command, path)
        if self.proxy.down:
            self.close_connection = True
            return
        if fault is not None:
            status, headers, data = fault[0], [("content-type", "application/xml")], fault[1]
        else:
            kept = [(name, value) for name, value in self.headers.items() if name.lower() != "expect"]
            status, headers, data = self.proxy.ask(self.command, self.path, kept, body)
        self.proxy.seen.append(Seen(self.command, path, status, began, time.time()))
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle(self) -> None:
        """One connection; a peer that goes away is none of our business."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815 - the base class's names


@contextmanager
def faulty_store(target_url: str, *, host: str = "127.0.0.1") -> Iterator[FaultyStore]:
    """A proxy before the store at that address; it listens on `host`."""
    store = FaultyStore(target_url, host=host)
    try:
        yield store
    finally:
        store.close()
