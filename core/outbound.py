"""Calls addresses that people entered, and lets nobody use the portal to reach what only it can reach.

A name is resolved once, every address it has must be public, and the connection goes to that address: a
second answer of the name server changes nothing. No redirect is followed; time and size are limited, also of
the name server.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

TOTAL_SECONDS = 10.0
CONNECT_SECONDS = 5.0
RESOLVE_SECONDS = 5.0
MOST_LOOKUPS = 16  # at once: a name server that never answers holds no more threads than these
MOST_BYTES = 64 * 1024
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Wrappings of IPv4 that no server of ours has to be called through: local NAT64, 6to4, Teredo.
TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))

Address = IPv4Address | IPv6Address
_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


class UnsafeAddressError(Exception):
    """The address is none that may be called; the text says why."""


class NameNotFoundError(UnsafeAddressError):
    """The name has no address now, or the name server did not say so in time; later it may have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a call goes: the name for TLS and the Host header, the address for the connection."""

    url: SplitResult
    host: str
    port: int
    address: str

    @property
    def path(self) -> str:
        """Return path and query as they are asked for."""
        return f"{self.url.path or '/'}{'?' + self.url.query if self.url.query else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; names of headers are in lower case, `cut` is a body that did not come whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


def find_target(url: str, *, networks: Collection[str] | None = None) -> Target:
    """Resolve the address of a call. `networks` may be called besides the public internet, those of the
    webhooks unless said otherwise. Raises UnsafeAddressError for one that may not be called, and
    NameNotFoundError, which is one, where the name has no address now.
    """
    allowed = settings.WEBHOOK_ALLOWED_NETWORKS if networks is None else networks
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UnsafeAddressError("It is no address.") from error
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise UnsafeAddressError("It has to begin with https:// and a host.")
    if parts.username is not None or parts.password is not None:
        raise UnsafeAddressError("It may hold no user name and no password.")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise UnsafeAddressError("Its port is no number of a port.") from error
    found = _resolve(parts.hostname, port)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        _require_callable(address, parts, allowed)
    return Target(url=parts, host=parts.hostname, port=port, address=str(addresses[0]))


def post(url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a body and return the answer, whatever its status. Raises UnsafeAddressError, and OSError or
    HTTPException when there is no answer in time.
    """
    return _call("POST", find_target(url), body=body, headers=headers, most_bytes=MOST_BYTES)


def get(url: str, *, headers: Mapping[str, str], networks: Collection[str], most_bytes: int) -> Answer:
    """Read an address, of its answer `most_bytes` at most. Raises as `post` does."""
    target = find_target(url, networks=networks)
    return _call("GET", target, body=None, headers=headers, most_bytes=most_bytes)


def _call(
    method: str, target: Target, *, body: bytes | None, headers: Mapping[str, str], most_bytes: int
) -> Answer:
    connection = _connect(target)
    late = threading.Event()
    cut = threading.Timer(TOTAL_SECONDS, _cut, [connection.sock, late])
    cut.daemon = True
    cut.start()
    try:
        connection.request(method, target.path, body=body, headers=dict(headers))
        response = connection.getresponse()
        answer = Answer(
            status=response.status,
            body=response.read(most_bytes),
            headers={name.lower(): value for name, value in response.getheaders()},
            cut=bool(response.length),
        )
    except (OSError, http.client.HTTPException) as error:
        if late.is_set():  # it failed because it was cut
            raise _too_late() from error
        raise
    finally:
        cut.cancel()
        connection.close()
    if late.is_set():
        raise _too_late()
    return answer


def _too_late() -> TimeoutError:
    return TimeoutError(f"no whole answer within {TOTAL_SECONDS:.0f} s")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, also the one that it wraps."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if any(address in network for network in TUNNELS):
            return False
    return address.is_global and not address.is_multicast


def _resolve(host: str, port: int) -> list[Any]:
    """Return what the name server says. It has no time limit of its own, so a thread asks, and is left behind
    when it takes too long.
    """
    asked: Future[list[Any]] = Future()
    if not _lookups.acquire(timeout=RESOLVE_SECONDS):
        raise NameNotFoundError(f"{host} cannot be looked up: the name server answers too slowly.")
    threading.Thread(target=_look_up, args=(host, port, asked), daemon=True).start()
    try:
        return asked.result(RESOLVE_SECONDS)
    except TimeoutError as error:
        raise NameNotFoundError(f"{host} was not found within {RESOLVE_SECONDS:.0f} s.") from error
    except (OSError, UnicodeError) as error:
        raise NameNotFoundError(f"{host} cannot be found.") from error


def _look_up(host: str, port: int, asked: Future[list[Any]]) -> None:
    try:
        asked.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        asked.set_exception(error)
    finally:
        _lookups.release()


def _require_callable(address: Address, parts: SplitResult, allowed: Collection[str]) -> None:
    if any(address in ipaddress.ip_network(network) for network in allowed):
        return
    if not is_public(address):
        raise UnsafeAddressError(f"{parts.hostname} is not on the public internet.")
    if parts.scheme != "https":
        raise UnsafeAddressError("It has to begin with https://.")


def _connect(target: Target) -> http.client.HTTPConnection:
    """Open the connection to the address that was checked; TLS asks for the certificate of the name."""
    sock = socket.create_connection((target.address, target.port), timeout=CONNECT_SECONDS)
    sock.settimeout(TOTAL_SECONDS)
    connection = http.client.HTTPConnection(target.host, target.port, timeout=TOTAL_SECONDS)
    if target.url.scheme == "https":
        try:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=target.host)
        except OSError:
            sock.close()
            raise
        connection.default_port = 443  # so that the Host header names no port where none is needed
    connection.sock = sock
    return connection


def _cut(sock: socket.socket, late: threading.Event) -> None:
    """End a connection whose other side sends a little, again and again, for ever."""
    late.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
