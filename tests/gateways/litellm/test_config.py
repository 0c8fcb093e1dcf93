"""The configuration that is written for a LiteLLM gateway, and the reading of its journal over HTTP."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from pytest_django import Settings

from core.models import AuditEvent
from gateway import litellm_env
from gateway.adapters.litellm import ConfigOptions, LiteLlmJournal, ModelRoute, fallbacks, render_config
from gateway.auth import secret_for
from gateway.litellm_env import REQUIREMENTS, VERSION, ensure_environment, process_environment
from gateway.management.commands.gateway_config import PLUGIN, read_environment
from gateway.models import Gateway
from gateway.plugins.litellm.purser_plugin.settings import SettingsError, from_environment
from tests.fakes.receiver import Receiver, receiver
from tests.gateway.conftest import World, build_world
from usage.ports import SourceUnavailableError

TEMPLATE = (PLUGIN / "config.yaml.template").read_text()
SONNET = ModelRoute(
    name="claude", provider="anthropic", provider_model="claude-sonnet-4-5", mode="chat", tier=2
)
MINI = ModelRoute(
    name="mini", provider="openai", provider_model="gpt-5-mini", mode="chat", tier=1, aliases=("fast",)
)
FLASH = ModelRoute(name="flash", provider="google", provider_model="gemini-2.5-flash", mode="chat", tier=1)
EMBED = ModelRoute(
    name="embed", provider="openai", provider_model="text-embedding-3-small", mode="embedding", tier=1
)
ROUTES = [SONNET, MINI, FLASH, EMBED]
COMPLETE = {
    "PURSER_URL": "http://portal",
    "PURSER_GATEWAY_ID": "gw_1",
    "PURSER_GATEWAY_SECRET": "gws_hidden",
    "PURSER_STATE_DIR": "state",
}


def rendered(**options: Any) -> dict[str, Any]:
    """Return the configuration as LiteLLM reads it."""
    config: dict[str, Any] = yaml.safe_load(
        render_config(ROUTES, ConfigOptions(**options), template=TEMPLATE)
    )
    return config


def test_each_model_goes_to_its_provider_under_its_catalogue_name() -> None:
    deployments = {entry["model_name"]: entry for entry in rendered()["model_list"]}
    assert deployments["claude"]["litellm_params"]["model"] == "anthropic/claude-sonnet-4-5"
    assert deployments["flash"]["litellm_params"] == {
        "model": "gemini/gemini-2.5-flash",
        "api_key": "os.environ/GEMINI_API_KEY",
        "max_retries": 0,
    }
    assert all(entry["model_info"]["id"] == name for name, entry in deployments.items())


def test_one_upstream_can_stand_in_for_all_providers() -> None:
    deployments = {
        entry["model_name"]: entry["litellm_params"]
        for entry in rendered(upstream="http://fake:1/")["model_list"]
    }
    assert deployments["mini"]["api_base"] == deployments["flash"]["api_base"] == "http://fake:1/v1"
    assert deployments["claude"]["api_base"] == "http://fake:1"
    assert deployments["flash"]["model"] == "openai/gemini-2.5-flash"
    assert {params["api_key"] for params in deployments.values()} == {"os.environ/UPSTREAM_API_KEY"}


def test_fallbacks_stay_within_a_tier_and_a_mode() -> None:
    assert fallbacks(ROUTES) == [{"flash": ["mini"]}, {"mini": ["flash"]}]
    assert rendered()["router_settings"]["fallbacks"] == fallbacks(ROUTES)
    assert rendered(fallbacks=False)["router_settings"]["fallbacks"] == []


def test_settings_of_policy_reach_the_gateway() -> None:
    config = rendered(cache_ttl_seconds=60, call_seconds=99, retries=4, parallel_calls_per_worker=7)
    assert config["router_settings"]["model_group_alias"] == {"fast": "mini"}
    assert (config["router_settings"]["num_retries"], config["router_settings"]["timeout"]) == (4, 99)
    assert config["general_settings"]["max_in_flight_requests_per_worker"] == 7
    assert config["general_settings"]["custom_auth"] == "purser_litellm.user_api_key_auth"
    assert config["litellm_settings"]["callbacks"] == "purser_litellm.callbacks"
    assert config["litellm_settings"]["cache_params"]["ttl"] == 60


@pytest.mark.parametrize(
    ("cache", "on", "kind"), [("local", True, "local"), ("redis", True, "redis"), ("none", False, None)]
)
def test_the_cache_is_local_shared_or_off(cache: str, on: bool, kind: str | None) -> None:
    config = rendered(cache=cache)["litellm_settings"]
    assert (config["cache"], config["cache_params"].get("type")) == (on, kind)


def test_a_hostile_name_stays_in_its_place() -> None:
    name = 'x"}\n  - {"model_name": "$models", evil: ${cache}'
    routes = [ModelRoute(name=name, provider="openai", provider_model=name, mode="chat", tier=1)]
    config = yaml.safe_load(render_config(routes, ConfigOptions(), template=TEMPLATE))
    assert [entry["model_name"] for entry in config["model_list"]] == [name]


def test_an_empty_catalogue_gives_a_valid_configuration() -> None:
    assert yaml.safe_load(render_config([], ConfigOptions(), template=TEMPLATE))["model_list"] == []


@pytest.fixture
def world(db: None) -> World:
    """Return an organisation with two priced models."""
    return build_world()


@pytest.fixture
def out(world: World, tmp_path: Path) -> Path:
    """Return what the command has written for the organisation of `world`."""
    call_command(
        "gateway_config", "litellm", out=tmp_path / "gateway", upstream="http://127.0.0.1:9", verbosity=0
    )
    return tmp_path / "gateway"


def test_the_command_writes_priced_models_only(world: World, out: Path) -> None:
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert {entry["model_name"] for entry in config["model_list"]} == {"small", "large"}


def test_a_call_ends_before_the_shortest_hold_of_what_the_gateway_serves(
    out: Path, settings: Settings
) -> None:
    settings.HOLD_SECONDS = 600
    settings.HOLD_SECONDS_FOR = {"/v1/messages": 120, "/v1/audio/speech": 60, "batch": 9_000}
    call_command("gateway_config", "litellm", out=out, verbosity=0)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["litellm_settings"]["request_timeout"] == config["router_settings"]["timeout"] == 90


def test_the_environment_is_private_complete_and_stable(out: Path) -> None:
    path = out / "gateway.env"
    assert path.stat().st_mode & 0o777 == 0o600
    first = read_environment(path)
    plugin = from_environment(first)
    gateway = Gateway.objects.get(name="litellm")
    assert (plugin.gateway_id, plugin.secrets) == (gateway.public_id, (secret_for(gateway, 1),))
    assert re.fullmatch(r"sk-[\w-]{40,}", first["LITELLM_MASTER_KEY"])
    call_command("gateway_config", "litellm", out=out, verbosity=0)
    assert read_environment(path) == first
    assert Gateway.objects.filter(name="litellm").count() == 1


def test_leases_are_off_and_a_switch_stays_when_the_files_are_written_again(out: Path) -> None:
    path = out / "gateway.env"
    plugin = from_environment(read_environment(path))
    assert (plugin.leases, plugin.lease_want_usd) == (False, Decimal("0.50"))
    path.write_text(path.read_text().replace("LEASES=0", "LEASES=1").replace("WANT_USD=0.50", "WANT_USD=2"))
    call_command("gateway_config", "litellm", out=out, verbosity=0)
    plugin = from_environment(read_environment(path))
    assert (plugin.leases, plugin.lease_want_usd) == (True, Decimal(2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PURSER_LEASES", "yes"),
        ("PURSER_LEASE_WANT_USD", "0.00"),
        ("PURSER_LEASE_WANT_USD", "-1"),
        ("PURSER_LEASE_WANT_USD", "NaN"),
    ],
)
def test_a_setting_of_leases_that_means_nothing_stops_the_gateway(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        from_environment(COMPLETE | {name: value})


def test_a_rotation_keeps_the_secret_before_it_alive(out: Path) -> None:
    before = from_environment(read_environment(out / "gateway.env")).secret
    call_command("gateway_config", "litellm", out=out, rotate=True, verbosity=0)
    after = from_environment(read_environment(out / "gateway.env"))
    assert after.secret != before == after.second_secret
    assert Gateway.objects.get(name="litellm").live_versions == [1, 2]
    call_command("gateway_config", "litellm", out=out, rotate=True, verbosity=0)
    assert before not in from_environment(read_environment(out / "gateway.env")).secrets
    assert AuditEvent.objects.filter(action="gateway.secret_rotated").count() == 2


def test_the_plugin_is_copied_whole_and_anew(out: Path) -> None:
    stale = out / "purser_plugin" / "stale.py"
    stale.touch()
    call_command("gateway_config", "litellm", out=out, verbosity=0)
    assert not stale.exists()
    names = {path.name for path in (PLUGIN / "purser_plugin").glob("*.py")}
    assert {path.name for path in (out / "purser_plugin").iterdir()} == names
    assert (out / "purser_litellm.py").exists()


@pytest.mark.parametrize("missing", list(COMPLETE))
def test_the_plugin_refuses_to_start_without(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        from_environment({**COMPLETE, missing: " "})
    assert "gws_hidden" not in repr(from_environment(COMPLETE))


@pytest.mark.parametrize("number", ["soon", "0", "-1"])
def test_a_setting_that_is_no_number_stops_the_gateway(number: str) -> None:
    with pytest.raises(SettingsError, match="PURSER_DECISION_SECONDS"):
        from_environment(COMPLETE | {"PURSER_DECISION_SECONDS": number})


def test_the_gateway_inherits_none_of_the_portals_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-provider")
    environment = process_environment({"PURSER_URL": "http://portal"})
    assert environment["OPENAI_API_KEY"] == "sk-provider"
    assert not {
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "KEY_PEPPERS",
        "GATEWAY_ROOT_SECRET",
        "AUDIT_HMAC_KEY",
    } & set(environment)


def test_the_locked_environment_holds_the_one_version_that_we_trust() -> None:
    pins = REQUIREMENTS.read_text()
    assert re.findall(r"^litellm(?:\[[\w,-]+\])?==(\S+)", pins, re.MULTILINE) == [VERSION]
    assert len(re.findall(r"^[\w\[\],.-]+==", pins, re.MULTILINE)) <= pins.count("--hash=sha256:")
    assert f"litellm[proxy]=={VERSION}" in REQUIREMENTS.with_suffix(".in").read_text()


def reader(base_url: str) -> LiteLlmJournal:
    """Return the reading side of a gateway at an address."""
    gateway = Gateway(public_id="gw_1", name="litellm", base_url=base_url, live_versions=[1])
    return LiteLlmJournal(gateway)


def answering(status: int = 200, body: str = "", **headers: str) -> AbstractContextManager[Receiver]:
    """Return a pretended gateway that gives one answer."""
    return receiver(status=status, body=body.encode(), headers=headers)


def test_a_page_is_asked_signed_and_read() -> None:
    body = json.dumps({"items": [{"id": "rsv_1"}], "next_cursor": "next", "has_more": True})
    with answering(body=body) as gateway:
        journal = reader(f"http://127.0.0.1:{gateway.port}/")
        page = journal.page("a+b", limit=5)
    assert (journal.name, page.rows, page.next_cursor, page.has_more) == (
        "gw_1",
        [{"id": "rsv_1"}],
        "next",
        True,
    )
    [call] = gateway.calls
    assert call.path == "/purser/v1/usage?cursor=a%2Bb&limit=5"
    assert call.headers["purser-gateway"] == "gw_1"
    assert call.headers["purser-signature"].startswith("v1=")


@pytest.mark.parametrize(
    "gateway",
    [
        answering(500, "oops"),
        answering(401, '{"code": "gateway_signature_invalid"}'),
        answering(302, location="http://elsewhere/"),
        answering(200, "<html>"),
        answering(200, '{"items": {}, "next_cursor": "", "has_more": false}'),
        answering(200, '{"items": [], "next_cursor": null, "has_more": false}'),
        answering(200, json.dumps({"items": ["x" * 9_000_000]})),
    ],
)
def test_a_gateway_that_cannot_be_read_is_unavailable(gateway: AbstractContextManager[Receiver]) -> None:
    with gateway as there, pytest.raises(SourceUnavailableError):
        reader(f"http://127.0.0.1:{there.port}").page("", limit=5)


def test_a_gateway_that_is_down_is_unavailable() -> None:
    with answering() as gateway:
        port = gateway.port
    with pytest.raises(SourceUnavailableError, match="cannot be reached"):
        reader(f"http://127.0.0.1:{port}").page("", limit=5)


def test_a_gateway_in_a_private_network_is_read_where_a_setting_names_it(settings: Any) -> None:
    body = '{"items": [], "next_cursor": "", "has_more": false}'
    with answering(body=body) as gateway:
        settings.GATEWAY_ALLOWED_NETWORKS = ["10.20.0.0/16"]
        with pytest.raises(SourceUnavailableError, match="GATEWAY_ALLOWED_NETWORKS"):
            reader(f"http://127.0.0.1:{gateway.port}").page("", limit=5)
        assert gateway.calls == []
        settings.GATEWAY_ALLOWED_NETWORKS = ["127.0.0.0/8"]
        assert reader(f"http://127.0.0.1:{gateway.port}").page("", limit=5).rows == []


def test_the_public_address_is_where_the_gateway_is_pulled_from(world: World, out: Path) -> None:
    assert Gateway.objects.get(name="litellm").base_url == settings.GATEWAY_PUBLIC_URL


def test_an_environment_is_made_once_and_anew_in_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def run(command: list[str], say: Any) -> None:
        if "venv" in command:
            made.append(command[-1])
            Path(command[-1]).mkdir(exist_ok=True)

    monkeypatch.setattr(litellm_env, "_run", run)
    first, second = tmp_path / "here" / "venv", tmp_path / "there" / "venv"
    for _ in range(2):
        assert ensure_environment(first, say=print) == first / "bin"
    assert made == [str(first)]
    first.parent.rename(second.parent)
    ensure_environment(second, say=print)
    assert made == [str(first), str(second)], "its programs name the place where they were made"
