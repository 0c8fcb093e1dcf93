"""Start the plugin in a worker: read the environment (or stop the gateway), wrap the application, begin
delivering.
"""

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth

from .estimates import load_tokenisers
from .hooks import Hooks, install
from .runtime import Runtime
from .settings import from_environment

_runtime = Runtime(from_environment())
load_tokenisers()
_runtime.start()
install(_runtime)
callbacks = Hooks(_runtime)


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Authenticate a request to the gateway."""
    return await callbacks.authenticate(request, api_key)
