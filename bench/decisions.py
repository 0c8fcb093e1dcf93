"""A durable authorisation against a bare synchronous Django view, both on one uvicorn worker, in
interleaved rounds.
"""

import json
import statistics
from collections.abc import Callable

from bench.environment import organisation, server, token
from bench.load import http_request, run_load
from core import clock
from gateway.auth import credential_of, signed_headers

ROUNDS = 5
REQUESTS = 1_500
CONNECTIONS = 32
PATH = "/gateway/v1/authorize"


def measure() -> tuple[str, float, float]:
    """Return the name, the median ratio of the rounds and what it must reach.

    The path is key, project and team, each with a hard day and a hard month budget, and one active grant;
    commits are durable.
    """
    signer = _signer()
    ratios = []
    hello = [http_request(method="GET", path="/hello")] * REQUESTS
    with server("bench.hello:application") as hello_port, server("portal.asgi:application") as portal_port:
        for round_number in range(ROUNDS + 1):
            base = run_load(port=hello_port, requests=hello, connections=CONNECTIONS)
            calls = run_load(
                port=portal_port, requests=[signer() for _ in range(REQUESTS)], connections=CONNECTIONS
            )
            if set(calls.statuses) != {200}:
                raise RuntimeError(f"authorisations were refused: {calls.statuses}")
            if round_number:  # the first warms both up
                ratios.append(calls.per_second / base.per_second)
                print(
                    f"  {calls.per_second:.0f} authorisations/s, {base.per_second:.0f} hellos/s", flush=True
                )
    return "authorize_vs_django_hello c=32", statistics.median(ratios), 0.35


def _signer() -> Callable[[], bytes]:
    world = organisation()
    credential = credential_of(world.gus.gateway)

    def signed() -> bytes:
        body = json.dumps(
            {
                "request_id": token(),
                "key": world.token,
                "model": "large",
                "route": "/v1/chat/completions",
                "input_bytes": 1000,
                "max_output_tokens": 100,
            }
        ).encode()
        headers = signed_headers(
            credential=credential, method="POST", target=PATH, body=body, now_seconds=clock.now().timestamp()
        )
        return http_request(method="POST", path=PATH, body=body, headers=headers)

    return signed
