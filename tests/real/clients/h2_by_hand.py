"""Scenes of flow control over one HTTP/2 connection, on Python's h2 with every window kept by hand.

h2 raises an error for each byte, frame and stream that it has left no room for; the scenes check that
what there is room for comes, and comes exactly.
"""

import argparse
import json
import os
import random
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

PATIENCE_SECONDS = int(os.environ.get("PATIENCE_MS", "60000")) / 1000
WINDOW_MAX = 2**31 - 1
# Room for any answer here, and for what a stream is in debt.
ENOUGH = 2**24
# A connection's window begins with so many bytes, whatever the settings say.
CONNECTION_WINDOW = 65_535
# So much of it is room again at once. Less would make for ever smaller frames; and h2 itself keeps up
# to half of the window back, of what still came on streams that were reset.
GIVEN_BACK = 4_096
FRAME_HEAD = 9
FRAME_MIN = 16_384
# The app's bodies.
PERIOD = bytes(range(251))

INITIAL = SettingCodes.INITIAL_WINDOW_SIZE
FRAME = SettingCodes.MAX_FRAME_SIZE


@dataclass
class Stream:
    """One answer, as far as it has come."""

    id: int
    path: str
    status: str | None = None
    got: bytearray = field(default_factory=bytearray)
    # `whole`, or the code of a reset.
    ended: str | None = None

    @property
    def is_feed(self) -> bool:
        return self.path.startswith("/feed/")

    def events(self) -> list[str]:
        """The data of each whole event; none of them may be a gap."""
        blocks = self.got.decode().split("\n\n")[:-1]
        lines = [line for block in blocks for line in block.split("\n")]
        assert "event: sidestream-gap" not in lines, "a gap"
        assert not any(line.startswith(": sidestream-gap") for line in lines), "a gap"
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    def has_all(self, published: list[str]) -> bool:
        """As much as was published, or the end of the body; a look that costs little."""
        if self.is_feed:
            return self.got.count(b"\ndata: ") >= len(published) and self.got.endswith(b"\n\n")
        return self.ended is not None

    def check(self, published: list[str]) -> None:
        """It is just what was published, or the whole body and its end."""
        if self.is_feed:
            assert self.events() == published, f"{self}: {self.events()}"
            return
        size = int(self.path.rsplit("/", 1)[1])
        assert self.ended == "whole", self
        assert self.got == (PERIOD * (size // len(PERIOD) + 1))[:size], f"{self}: another body"

    def __str__(self) -> str:
        return f"stream {self.id} {self.path} ({self.ended or 'open'})"


class Client:
    """One connection, which gives room by hand and only where a scene says so."""

    def __init__(self, origin: str, ca: str | None, window: int) -> None:
        where = urlsplit(origin)
        self.scheme, self.authority = where.scheme, where.netloc
        self.socket = socket.create_connection((where.hostname, where.port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if where.scheme == "https":
            trust = ssl.create_default_context(cafile=ca)
            trust.set_alpn_protocols(["h2"])
            self.socket = trust.wrap_socket(self.socket, server_hostname=where.hostname)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=True, initial_values={INITIAL: window})
        self.h2.initiate_connection()
        self.streams: dict[int, Stream] = {}
        # Of the client's settings, without those that it began with.
        self.acknowledged = -1
        self.settings_sent = 0
        self.pongs: set[bytes] = set()
        self.pings = 0
        self.rest = b""
        self.is_closed = False
        # What came on the connection, and is not yet room again.
        self.used = 0
        self.gives_back = True
        self.given_back = GIVEN_BACK
        # Its bytes are never room again.
        self.unread: Stream | None = None
        self.send()

    def send(self, more: bytes = b"") -> None:
        self.socket.sendall(self.h2.data_to_send() + more)

    def open(self, path: str) -> Stream:
        stream = Stream(self.h2.get_next_available_stream_id(), path)
        self.streams[stream.id] = stream
        head = {"method": "GET", "scheme": self.scheme, "authority": self.authority, "path": path}
        self.h2.send_headers(stream.id, [(f":{k}", v) for k, v in head.items()], end_stream=True)
        self.send()
        return stream

    def open_all(self, paths: Iterable[str]) -> list[Stream]:
        """Waits for their heads: who reads the feed gets what is published from then on."""
        streams = [self.open(path) for path in paths]
        self.until("all heads", lambda: all(stream.status for stream in streams))
        assert all(stream.status == "200" for stream in streams), streams
        return streams

    def grant(self, size: int, *streams: Stream) -> None:
        """A WINDOW_UPDATE for each of them, or for the connection if there is none."""
        for stream in streams:
            self.h2.increment_flow_control_window(size, stream.id)
        if not streams:
            self.h2.increment_flow_control_window(size)
        self.send()

    def settle(self, **settings: int) -> None:
        """Changes settings, and waits until they count for both sides."""
        self.change(settings)
        self.until("the SETTINGS to be acknowledged", lambda: self.acknowledged == self.settings_sent)

    def change(self, settings: dict[str, int]) -> None:
        self.h2.update_settings({SettingCodes[name]: value for name, value in settings.items()})
        self.settings_sent += 1
        self.send()

    def ping(self) -> None:
        """Waits for the answer. What was sent before it has been looked at by then."""
        self.pings += 1
        payload = self.pings.to_bytes(8, "big")
        self.h2.ping(payload)
        self.send()
        self.until(f"the answer to PING {self.pings}", lambda: payload in self.pongs)

    def reset(self, stream: Stream) -> None:
        self.h2.reset_stream(stream.id, ErrorCodes.CANCEL)
        stream.ended = "by us"
        self.send()

    def say_goaway(self) -> None:
        """In bytes: h2 itself would be done with the connection."""
        self.send(GoAwayFrame(0, last_stream_id=0, error_code=0).serialize())

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Takes what comes until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0 or self.is_closed:
                state = [f"{stream}: {len(stream.got)} bytes" for stream in self.streams.values()]
                raise TimeoutError(f"waited for: {what}; " + "; ".join(state))
            self.socket.settimeout(left)
            try:
                received = self.socket.recv(65_536)
            except TimeoutError:
                continue
            self.is_closed = not received
            self.rest += received
            for frame in self.whole_frames():
                for event in self.h2.receive_data(frame):
                    self.take(event)
            if not self.is_closed:
                self.send()

    def whole_frames(self) -> Iterator[bytes]:
        """One by one: h2 looks only between two calls at what size frames may have by now."""
        while len(self.rest) >= FRAME_HEAD:
            size = FRAME_HEAD + int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < size:
                return
            frame, self.rest = self.rest[:size], self.rest[size:]
            if frame[3] == GoAwayFrame.type:
                # For h2 it would be the end of the connection; streams that are there go on.
                error = int.from_bytes(frame[FRAME_HEAD + 4 : FRAME_HEAD + 8], "big")
                assert error == ErrorCodes.NO_ERROR, frame
            else:
                yield frame

    def take(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self.streams[event.stream_id].status = dict(event.headers)[":status"]
            case DataReceived():
                stream = self.streams[event.stream_id]
                assert stream.ended is None, f"{stream} goes on"
                stream.got += event.data
                self.used += event.flow_controlled_length if stream is not self.unread else 0
                if self.gives_back and self.used >= self.given_back:
                    self.h2.increment_flow_control_window(self.used)
                    self.used = 0
            case StreamEnded():
                self.streams[event.stream_id].ended = "whole"
            case StreamReset():
                self.streams[event.stream_id].ended = f"reset {event.error_code}"
            case SettingsAcknowledged():
                self.acknowledged += 1
            case PingAckReceived():
                self.pongs.add(event.ping_data)

    def has_exactly(self, size: int, streams: list[Stream]) -> None:
        """Waits until each has so many bytes, and no more after both sides have spoken once more."""
        self.until(f"{size} bytes on each", lambda: all(len(s.got) >= size for s in streams))
        self.ping()
        assert [len(s.got) for s in streams] == [size] * len(streams), [len(s.got) for s in streams]

    def complete(self, streams: list[Stream], published: list[str]) -> None:
        """Waits until they have everything."""
        self.until("everything", lambda: all(stream.has_all(published) for stream in streams))
        for stream in streams:
            stream.check(published)

    def finish(self, streams: list[Stream], published: list[str]) -> None:
        """Gives room for everything, and waits until it is there."""
        self.grant(ENOUGH, *(stream for stream in streams if stream.ended is None))
        self.complete(streams, published)


@dataclass
class Stage:
    """What a scene plays on."""

    origin: str
    ca: str | None
    app: str
    # Of the feed: nobody else reads it.
    name: str
    published: list[str] = field(default_factory=list)

    @property
    def feed(self) -> str:
        return f"/feed/{self.name}"

    def connect(self, window: int) -> Client:
        return Client(self.origin, self.ca, window)

    def publish(self, events: list[str]) -> None:
        self.post("publish", json.dumps(events).encode())
        self.published += events

    def end(self) -> None:
        self.post("end", b"")

    def post(self, path: str, body: bytes) -> None:
        """To the app itself: nothing of it is in the way of what is looked at."""
        with urllib.request.urlopen(f"{self.app}/{path}/{self.name}", body, PATIENCE_SECONDS) as answer:
            assert answer.status == 200, answer.status


def numbered(count: int, pad: int) -> list[str]:
    return [f"{number} {'x' * pad}" for number in range(count)]


def grants_of_one_byte(stage: Stage) -> None:
    """From initial windows of 0, 1 and 100 bytes on, each byte that is granted is used, and no other."""
    for window in (0, 1, 100):
        client = stage.connect(window)
        streams = client.open_all([stage.feed, "/body/4000"] * 3)
        already = len(stage.published)
        stage.publish(numbered(5, pad=60))
        client.has_exactly(window, streams)
        for granted in range(1, 201):
            client.grant(1, *streams)
            wanted = window + granted
            client.until(f"{wanted} bytes", lambda: all(len(s.got) >= wanted for s in streams))
        client.has_exactly(window + 200, streams)
        client.finish(streams, stage.published[already:])
        client.socket.close()


def settings_in_midstream(stage: Stage) -> None:
    """Windows become negative, are paid back byte by byte, and grow with SETTINGS alone."""
    client = stage.connect(1_000)
    streams = client.open_all([stage.feed, "/body/2000000"] * 3)
    stage.publish(numbered(300, pad=100))
    client.has_exactly(1_000, streams)
    # All of them are 1,000 bytes in debt.
    client.settle(INITIAL_WINDOW_SIZE=0)
    client.grant(999, *streams)
    client.has_exactly(1_000, streams)
    client.grant(1, *streams)
    client.has_exactly(1_000, streams)
    client.grant(1, *streams)
    client.has_exactly(1_001, streams)
    client.settle(INITIAL_WINDOW_SIZE=5_000)
    client.has_exactly(6_001, streams)
    late = client.open_all(["/body/9000"])
    client.has_exactly(5_000, late)
    client.settle(INITIAL_WINDOW_SIZE=4_999, MAX_FRAME_SIZE=100_000)
    client.has_exactly(6_001, streams)
    # Into debt and out of it again before anything is acknowledged.
    for window in (0, 1, 0, 100, 20_000):
        client.change({"INITIAL_WINDOW_SIZE": window})
    client.has_exactly(21_001, streams)
    client.complete(late, [])
    client.settle(MAX_FRAME_SIZE=FRAME_MIN)
    client.settle(INITIAL_WINDOW_SIZE=WINDOW_MAX - 1_001)
    client.complete(streams, stage.published)


def resets_among_others(stage: Stage) -> None:
    """Streams that the client resets take nothing with them: not the others' bytes, not their windows."""
    client = stage.connect(1_000)
    streams = client.open_all([stage.feed, "/body/300000"] * 10)
    stage.publish(numbered(100, pad=100))
    client.has_exactly(1_000, streams)
    gone, staying = streams[::3], [s for at, s in enumerate(streams) if at % 3]
    for stream in gone:
        # Room for more than is under way when the reset comes.
        client.grant(50_000, stream)
        client.reset(stream)
    client.has_exactly(1_000, staying)
    stage.publish(numbered(100, pad=100))
    client.finish(staying, stage.published)
    later = client.open_all(["/body/300000"] * len(gone))
    client.finish(later, [])
    client.ping()


def ping_while_a_batch_is_pending(stage: Stage) -> None:
    """With the connection's window used up PINGs are answered, and each byte of it is used."""
    client = stage.connect(WINDOW_MAX)
    client.gives_back = False
    [feed, body] = client.open_all([stage.feed, "/body/1000000"])

    def total() -> int:
        return len(feed.got) + len(body.got)

    client.until("the connection's window to be used up", lambda: total() == CONNECTION_WINDOW)
    stage.publish(numbered(200, pad=500))
    for _ in range(50):
        client.ping()
    assert total() == CONNECTION_WINDOW, total()
    for granted in range(1, 301):
        client.grant(1)
        client.until("one byte more", lambda: total() >= CONNECTION_WINDOW + granted)
    client.ping()
    assert total() == CONNECTION_WINDOW + 300, total()
    client.gives_back = True
    client.grant(client.used)
    client.used = 0
    client.complete([feed, body], stage.published)


def a_body_that_nobody_reads(stage: Stage) -> None:
    """It keeps a part of the connection's window, and the client grants more only for half of all."""
    client = stage.connect(0)
    client.given_back = CONNECTION_WINDOW // 2
    [feed, body, client.unread] = client.open_all([stage.feed, "/body/3000000", "/body/100000"])
    client.grant(30_000, client.unread)
    client.has_exactly(30_000, [client.unread])
    client.finish([body], [])
    stage.publish(numbered(1_000, pad=500))
    client.finish([feed], stage.published)


def goaway_from_the_client(stage: Stage) -> None:
    """It opens no more streams; those that are there get everything, and the connection ends with them."""
    client = stage.connect(1_000)
    streams = client.open_all([stage.feed, "/body/300000"] * 5)
    stage.publish(numbered(100, pad=100))
    client.has_exactly(1_000, streams)
    client.say_goaway()
    client.ping()
    stage.publish(numbered(100, pad=100))
    client.finish(streams, stage.published)
    stage.end()
    client.until("the end of all streams", lambda: all(s.ended == "whole" for s in streams))
    client.until("the end of the connection", lambda: client.is_closed)


def a_hundred_streams(stage: Stage, seed: int) -> None:
    """Both kinds in equal parts, with grants, SETTINGS, resets and PINGs in random order."""
    chance = random.Random(seed)
    client = stage.connect(chance.choice([0, 1, 100, 1_000]))
    streams = client.open_all([stage.feed, "/body/30000"] * 50)
    open_ = list(streams)
    for _ in range(400):
        match chance.choices(["grant", "publish", "settings", "reset", "ping"], [40, 5, 3, 1, 3])[0]:
            case "grant":
                some = chance.sample(open_, chance.randint(1, 20))
                size = chance.choice([1, 10, 100, 3_000])
                client.grant(size, *(stream for stream in some if stream.ended is None))
            case "publish":
                stage.publish(numbered(chance.randint(1, 5), chance.choice([1, 50, 2_000])))
            case "settings":
                window, frame = chance.choice([0, 1, 100, 10_000]), chance.choice([FRAME_MIN, 70_000])
                client.change({"INITIAL_WINDOW_SIZE": window, "MAX_FRAME_SIZE": frame})
            case "reset":
                stream = open_.pop(chance.randrange(len(open_)))
                if stream.ended is None:
                    client.reset(stream)
            case "ping":
                client.ping()
    client.finish(open_, stage.published)
    client.until("the last SETTINGS", lambda: client.acknowledged == client.settings_sent)


SCENES = [
    grants_of_one_byte,
    settings_in_midstream,
    resets_among_others,
    ping_while_a_batch_is_pending,
    a_body_that_nobody_reads,
    goaway_from_the_client,
    a_hundred_streams,
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", choices=[scene.__name__ for scene in SCENES])
    parser.add_argument("origin")
    parser.add_argument("app")
    parser.add_argument("name")
    parser.add_argument("--ca")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    [scene] = [scene for scene in SCENES if scene.__name__ == options.scene]
    stage = Stage(options.origin, options.ca, options.app, options.name)
    if options.seed is None:
        scene(stage)
    else:
        scene(stage, options.seed)


if __name__ == "__main__":
    main()
