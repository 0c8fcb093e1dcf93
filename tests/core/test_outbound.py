"""Nobody reaches through the portal what only the portal can reach."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from core import outbound
from core.outbound import NameNotFoundError, UnsafeAddressError, find_target, is_public, post
from portal.settings import _networks
from tests.fakes.receiver import receiver


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let names mean what a test says, each call the next answer; the network is what is faked here."""

    def answers(*each: list[str]) -> list[str]:
        asked: list[str] = []

        def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            is_name = host.endswith(".com")
            found = each[min(len(asked), len(each) - 1)] if is_name else [host]
            asked.extend([host] * is_name)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        return asked

    return answers


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),  # NAT64 of 8.8.8.8
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # the metadata of a cloud
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::7f00:1", False),
        ("64:ff9b::7f00:1", False),  # NAT64 of 127.0.0.1
        ("64:ff9b::a9fe:a9fe", False),  # NAT64 of the metadata
        ("64:ff9b:1::808:808", False),  # local NAT64
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2001:0:7f00:1::", False),  # Teredo
        ("2001:db8::1", False),
    ],
)
def test_only_public_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::7f00:1]/",
        "https://localhost/",
        "http://8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "https:///path",
        "https://user:secret@8.8.8.8/",
        "https://8.8.8.8:99999/",
        "https://name.invalid/",
        "javascript:alert(1)",
        "",
    ],
)
def test_unsafe_address_is_refused(url: str) -> None:
    with pytest.raises(UnsafeAddressError):
        find_target(url)


def test_one_private_address_among_public_ones_refuses_the_name(resolves: Any) -> None:
    resolves(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(UnsafeAddressError, match="not on the public internet"):
        find_target("https://hooks.example.com/")


def test_call_goes_to_the_address_that_was_checked(resolves: Any, settings: Settings) -> None:
    """The second answer of the name server is another one: it is never asked for."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiver() as told:
        asked = resolves(["127.0.0.1"], ["10.0.0.1"])
        assert post(f"http://hooks.example.com:{told.port}/a?b=c", body=b"{}", headers={}).status == 204
        assert asked == ["hooks.example.com"]
        [call] = told.calls
    assert call.path == "/a?b=c"
    assert call.headers["host"] == f"hooks.example.com:{told.port}"


def test_own_networks_may_be_allowed(settings: Settings) -> None:
    with receiver() as told:
        with pytest.raises(UnsafeAddressError):
            post(told.url, body=b"", headers={})
        settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
        assert post(told.url, body=b"", headers={}).status == 204


def test_network_that_is_none_stops_the_start() -> None:
    for wrong in ("10.20.0.1/16", "intranet"):
        with pytest.raises(ImproperlyConfigured, match=r"HERE.*such as 10\.20\.0\.0/16"):
            _networks("HERE", [wrong])
    assert _networks("HERE", ["10.20.0.0/16"]) == ["10.20.0.0/16"]


def test_redirect_is_an_answer_and_not_followed(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiver() as other, receiver(status=307, headers={"location": other.url}) as told:
        assert post(told.url, body=b"", headers={}).status == 307
        assert (len(told.calls), len(other.calls)) == (1, 0)


def test_of_a_large_answer_only_the_beginning_is_read(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiver(status=200, body=b"x" * 1_000_000) as told:
        assert len(post(told.url, body=b"", headers={}).body) == outbound.MOST_BYTES


def test_answer_that_never_ends_is_cut(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.5)
    with receiver(drips=True) as told, pytest.raises(TimeoutError):
        post(told.url, body=b"", headers={})


def test_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again and again it holds two threads, not one more for each call."""
    ended, asked = threading.Event(), []

    def never(*_: Any, **__: Any) -> list[Any]:
        asked.append(1)
        ended.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(outbound, "RESOLVE_SECONDS", 0.1)
    monkeypatch.setattr(outbound, "_lookups", threading.BoundedSemaphore(2))
    started = time.monotonic()
    for _ in range(4):
        with pytest.raises(NameNotFoundError):
            find_target("https://hooks.example.com/")
    took = time.monotonic() - started
    ended.set()
    for _ in range(2):
        assert outbound._lookups.acquire(timeout=30)  # both threads have ended, and gave their places back
    assert took < 5
    assert len(asked) == 2
