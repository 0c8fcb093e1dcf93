"""The connections of a load: that of a caller, with one call in flight, and that of a host, which delivers
settlements as the plugin of LiteLLM does.

Imports the standard library alone, as the generator does.
"""

import socket
import time

ANSWER_SECONDS = 20
# As gateway/plugins/litellm/purser_plugin/delivery.py has them; tests/bench/test_load.py holds them together.
BATCH = 500
LINGER_SECONDS = 0.2


class Connection:
    """One keep-alive connection: what has arrived of an answer, and when its request was sent."""

    __slots__ = ("received", "sent_at", "settles", "socket")  # `settles`: the reservation being settled

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0
        self.settles = ""

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)


class Host(Connection):
    """The deliveries of one gateway host: what waits to be settled, what was sent, and when the next goes."""

    __slots__ = ("due_at", "under_way", "waiting")

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.waiting: list[str] = []
        self.under_way: list[str] = []
        self.due_at = 0.0

    def add(self, reservation: str) -> None:
        if not self.waiting and not self.under_way:
            self.due_at = time.perf_counter() + LINGER_SECONDS
        self.waiting.append(reservation)

    def next_items(self) -> list[str]:
        """Return what is to be sent now; nothing while something is under way or more may gather."""
        is_due = len(self.waiting) >= BATCH or time.perf_counter() >= self.due_at
        if self.under_way or not self.waiting or not is_due:
            return []
        self.under_way, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
        return self.under_way

    def answered(self) -> list[str]:
        done, self.under_way = self.under_way, []
        self.due_at = time.perf_counter() + (0 if len(self.waiting) >= BATCH else LINGER_SECONDS)
        return done
