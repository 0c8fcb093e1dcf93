"""The shape of a secret and how it is recognised."""

from __future__ import annotations

import hashlib
import hmac
import re
import string
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.litellm.purser_plugin import keys as plugin_keys
from keys import secrets

BASE62 = string.digits + string.ascii_lowercase + string.ascii_uppercase


def test_a_new_secret_is_wellformed_and_unlike_the_next() -> None:
    tokens = {secrets.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(secrets.is_wellformed(token) for token in tokens)


def test_a_secret_has_the_published_shape() -> None:
    token = secrets.new_token()
    assert re.fullmatch(r"psr_live_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", token)
    assert re.fullmatch(secrets.TOKEN_PATTERN, token)


def test_the_checksum_is_the_crc32_in_big_endian_base62() -> None:
    body = "psr_live_" + "0" * 43
    number, digits = zlib.crc32(body.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    assert secrets.is_wellformed(body + digits.rjust(6, "0"))


def test_the_gateways_own_check_agrees_with_ours() -> None:
    token = secrets.new_token()
    assert plugin_keys.is_well_formed(token)
    assert not plugin_keys.is_well_formed(_with_another_last_character(token))


@given(position=st.integers(9, 57), character=st.sampled_from(BASE62))
def test_one_mistyped_character_is_always_found(position: int, character: str) -> None:
    token = secrets.new_token()
    mistyped = token[:position] + character + token[position + 1 :]
    assert secrets.is_wellformed(mistyped) == (mistyped == token)


@pytest.mark.parametrize(
    "garbage",
    ["", "psr_live_", "sk-123", "psr_live_" + "a" * 49, "psr_live_" + "ä" * 49, "psr_live_" + "0" * 10_000],
)
def test_garbage_is_refused(garbage: str) -> None:
    assert not secrets.is_wellformed(garbage)


def test_a_line_break_after_a_secret_is_refused() -> None:
    assert not secrets.is_wellformed(secrets.new_token() + "\n")


def test_what_is_kept_is_an_hmac_under_the_newest_pepper(settings: Any) -> None:
    settings.KEY_PEPPERS = {1: b"old" * 11, 2: b"new" * 11}
    token = secrets.new_token()
    number, kept = secrets.sign(token)
    assert (number, kept) == (2, hmac.new(b"new" * 11, token.encode(), hashlib.sha256).digest())
    assert len(kept) == 32


def test_a_secret_is_recognised_under_every_live_pepper(settings: Any) -> None:
    token = secrets.new_token()
    settings.KEY_PEPPERS = {1: b"old" * 11}
    _, kept = secrets.sign(token)
    settings.KEY_PEPPERS = {1: b"old" * 11, 2: b"new" * 11}
    assert secrets.digests(token) == [secrets.digest(token, b"new" * 11), kept]
    settings.KEY_PEPPERS = {2: b"new" * 11}
    assert kept not in secrets.digests(token)


def _with_another_last_character(token: str) -> str:
    return token[:-1] + ("0" if token[-1] != "0" else "1")
