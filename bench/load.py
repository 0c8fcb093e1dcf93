"""A load generator: keep-alive connections that send prebuilt requests, one in flight each."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class LoadResult:
    """What one round measured."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Return answers a second, whatever their status."""
        return sum(self.statuses.values()) / self.seconds


def http_request(
    *, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """Return the bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run_load(*, port: int, requests: list[bytes], connections: int) -> LoadResult:
    """Send every request once over so many connections and return the time and the statuses."""
    return asyncio.run(_run(port, requests, connections))


async def _run(port: int, requests: list[bytes], connections: int) -> LoadResult:
    pending = iter(requests)
    statuses: Counter[int] = Counter()
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    start = time.perf_counter()
    await asyncio.gather(*(_send(reader, writer, pending, statuses) for reader, writer in streams))
    seconds = time.perf_counter() - start
    for _, writer in streams:
        writer.close()
    return LoadResult(seconds=seconds, statuses=statuses)


async def _send(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pending: Iterator[bytes],
    statuses: Counter[int],
) -> None:
    for request in pending:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        statuses[int(head[9:12])] += 1
        length = head.lower().find(b"content-length:")
        end = head.index(b"\r\n", length)
        await reader.readexactly(int(head[length + 15 : end]))
