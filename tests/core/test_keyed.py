"""HMAC with kept blocks is HMAC."""

import hashlib
import hmac

import pytest

from core.keyed import BLOCK_BYTES, hmac_sha256


@pytest.mark.parametrize("size", [0, 1, 32, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 200])
def test_it_is_what_the_library_says_for_keys_of_every_size(size: int) -> None:
    key = bytes(range(1, 201))[:size]
    for message in (b"", b"one", b"x" * 1000):
        assert hmac_sha256(key, message) == hmac.digest(key, message, hashlib.sha256)
