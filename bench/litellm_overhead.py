"""LiteLLM with Purser's plugin against the same LiteLLM without authentication, one client, call by call.

Both proxies stand before the same fake provider. The portal is the real one with durable commits, so the
ratio holds all of it: key, body, signed decision, hold, journal, settlement.
"""

import http.client
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.environment import Services, free_port, portal
from bench.load import ROOT, Gateway
from bench.results import Result
from bench.sizes import Size
from bench.world import World
from gateway.litellm_env import ensure_environment

CALLS = 30
START_SECONDS = 90
FLOOR = 0.85
PLUGIN = ROOT / "gateway" / "plugins" / "litellm"


def measure(running: Services, size: Size) -> Iterator[Result]:
    """Give the median ratio of the rounds.

    One client waits for each answer and asks both proxies in turn, so that whatever else the machine does
    falls on both.
    """
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="purser-bench-")))
        world = World()
        gateway = world.load_gateway(world.add("litellm", teams=1, projects=1, keys=1).tokens)
        ports = _start_all(stack, out, gateway)
        with_plugin, without = (stack.enter_context(_client(port)) for port in ports)
        ratios = []
        for number in range(size.rounds + 1):
            pairs = [(_call(without, "sk-any"), _call(with_plugin, gateway.keys[0])) for _ in range(CALLS)]
            base, measured = (CALLS / sum(seconds) for seconds in zip(*pairs, strict=True))
            if number:  # the first warms both up
                ratios.append(measured / base)
                print(f"  round {number}: plugin {measured:.1f}/s, no auth {base:.1f}/s", flush=True)
    ratio = statistics.median(ratios)
    yield Result(name="plugin_vs_no_auth c=1", value=ratio, bar=FLOOR, judged=size.judged)


def _start_all(stack: ExitStack, out: Path, gateway: Gateway) -> tuple[int, int]:
    """Start everything; return the proxies' ports, the one with the plugin first."""
    programs = _programs()
    provider = free_port()
    fake = [str(programs / "python"), str(ROOT / "tests/fakes/provider.py"), str(provider)]
    stack.enter_context(_process(fake, provider, FAKE_PROVIDER_KEY="sk-fake"))
    portal_port = stack.enter_context(portal())
    shutil.copytree(PLUGIN, out, dirs_exist_ok=True)
    plugin = {
        "PURSER_URL": f"http://127.0.0.1:{portal_port}",
        "PURSER_GATEWAY_ID": gateway.public_id,
        "PURSER_GATEWAY_SECRET": gateway.secret,
        "PURSER_STATE_DIR": str(out / "state"),
        "LITELLM_MASTER_KEY": "sk-master-of-the-bench-7d41",
    }
    settings = {
        "general_settings": {"custom_auth": "purser_litellm.user_api_key_auth"},
        "litellm_settings": {"callbacks": "purser_litellm.callbacks"},
    }
    unlocked = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    with_plugin = _proxy(stack, out / "plugin.json", provider, settings, **plugin)
    return with_plugin, _proxy(stack, out / "none.json", provider, {}, **unlocked)


def _proxy(stack: ExitStack, config: Path, provider: int, settings: Mapping[str, object], **own: str) -> int:
    port = free_port()
    params = {"model": "openai/gpt-4.1-mini", "api_key": "sk-fake", "max_retries": 0}
    params["api_base"] = f"http://127.0.0.1:{provider}/v1"
    config.write_text(
        json.dumps({"model_list": [{"model_name": "large", "litellm_params": params}], **settings})
    )
    command = [
        str(_programs() / "litellm"),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    stack.enter_context(_process(command, port, LITELLM_LOCAL_MODEL_COST_MAP="True", **own))
    return port


def _call(client: http.client.HTTPConnection, key: str) -> float:
    """Make one call and return its seconds."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json.dumps(
        {"model": "large", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
    )
    started = time.perf_counter()
    client.request("POST", "/v1/chat/completions", body, headers)
    answer = client.getresponse()
    text = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"a call was refused: {answer.status} {text[:300]!r}")
    return time.perf_counter() - started


@contextmanager
def _client(port: int) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _process(command: Sequence[str], port: int, **environment: str) -> Iterator[None]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            client.request("GET", "/health/liveliness")
            client.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        else:
            return
        finally:
            client.close()
    raise TimeoutError(f"nothing answers on port {port}")


def _programs() -> Path:
    return ensure_environment(ROOT / ".local" / "gateway" / "venv", say=print)
