"""The cache: shared by all processes on the queue's server, and this process's own while that is away."""

from collections.abc import Callable
from typing import Any

import orjson
import structlog
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)


class Json:
    """Keeps plain values as JSON: what is read from the server is never run, whoever wrote it there."""

    def dumps(self, value: Any) -> bytes:
        """Write a value."""
        return orjson.dumps(value)

    def loads(self, data: bytes) -> Any:
        """Read a value."""
        return orjson.loads(data)


class SharedCache(BaseCache):
    """Counts the attempts to sign in. Without Valkey people still sign in, and each process counts alone."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._shared = RedisCache(location, params)
        self._own = LocMemCache("while-the-shared-one-is-away", params)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep a value unless there is one; say whether it was kept."""
        return bool(self._ask(lambda cache: cache.add(key, value, timeout, version)))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or the default."""
        return self._ask(lambda cache: cache.get(key, default, version))

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Keep a value."""
        self._ask(lambda cache: cache.set(key, value, timeout, version))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep a value for longer; say whether it is there."""
        return bool(self._ask(lambda cache: cache.touch(key, timeout, version)))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Forget a value; say whether it was there."""
        return bool(self._ask(lambda cache: cache.delete(key, version)))

    def clear(self) -> None:
        """Forget what this process keeps alone; the server is not the cache's own."""
        self._own.clear()

    def _ask(self, act: Callable[[BaseCache], Any]) -> Any:
        try:
            return act(self._shared)
        except (RedisError, OSError) as error:
            log.warning("cache.away", error=type(error).__name__)
            return act(self._own)
