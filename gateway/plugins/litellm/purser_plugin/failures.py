"""Failed requests: whether the provider did any work for them.

If it answered with a refusal, no; if the line broke, perhaps.
"""

from collections.abc import Iterator

LONGEST_CHAIN = 16
# Named, not imported: the classes of httpx, aiohttp and litellm that say how far a request got.
NEVER_SENT = frozenset({
    "ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError", "ClientConnectorDNSError",
    "ConnectionRefusedError",
})  # fmt: skip
BROKE_OFF = frozenset({
    "ReadError", "ReadTimeout", "WriteError", "RemoteProtocolError", "ServerDisconnectedError",
    "ClientPayloadError", "TransferEncodingError", "Timeout", "APITimeoutError", "MidStreamFallbackError",
    "CancelledError",
})  # fmt: skip


def nothing_was_done(error: BaseException, *, streaming: bool) -> bool:
    """Whether the provider certainly did no billable work: it was never reached, or it answered with an error
    before any output.
    """
    names = [type(link).__name__ for link in _chain(error)]
    if streaming:
        return False
    return not any(name in BROKE_OFF for name in names) or any(name in NEVER_SENT for name in names)


def reason_of(error: BaseException) -> str:
    """Return the release reason: who said no."""
    return "upstream_refused" if getattr(error, "llm_provider", None) else "not_dispatched"


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__
