"""What `gateway_config nginx` writes, and that nginx takes it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from gateway.auth import secret_for
from gateway.management.commands.gateway_config import read_environment
from gateway.models import Gateway, GatewayKind, GatewayLog
from tests.gateway.conftest import build_world
from tests.gateways.nginx.conftest import NGINX_ROOT
from usage.selectors.sources import gateways_told


def written(out: Path, settings: Any, **options: Any) -> Gateway:
    """Have everything written into `out` and return the gateway."""
    build_world()
    settings.GATEWAY_LOG_DIRECTORY = str(out)
    call_command("gateway_config", "nginx", out=out, name="edge", portal_url="http://127.0.0.1:9/", **options)
    return Gateway.objects.get(name="edge")


def test_all_that_nginx_needs_is_written_and_its_log_is_read_from_then_on(
    db: None, tmp_path: Path, settings: Any
) -> None:
    gateway = written(tmp_path, settings, listen="127.0.0.1:4555")

    assert (gateway.kind, gateway.base_url) == (GatewayKind.NGINX, "")
    conf = (tmp_path / "nginx.conf").read_text()
    for part in (
        "listen 127.0.0.1:4555;",
        "proxy_pass http://127.0.0.1:9/gateway/v1/authorize;",
        f"proxy_set_header Purser-Gateway {gateway.public_id};",
        "proxy_pass https://api.openai.com;",
        "proxy_pass https://api.anthropic.com;",
        "env OPENAI_API_KEY;",
        "env ANTHROPIC_API_KEY;",
        "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;",
        "proxy_ssl_verify on;",
        f"access_log {tmp_path}/edge.log purser;",
    ):
        assert part in conf
    assert "%{" not in conf
    secrets = tmp_path / "gateway.env"
    assert secrets.stat().st_mode & 0o077 == 0
    assert read_environment(secrets) == {"PURSER_GATEWAY_SECRET": secret_for(gateway, 1)}
    names = json.loads((tmp_path / "purser_models.js").read_text().removeprefix("export default ")[:-2])
    assert (names["small"]["at"], names["small"]["key"]) == ("@openai", "OPENAI_API_KEY")
    assert GatewayLog.objects.get(gateway=gateway).place == f"{tmp_path}/edge.log"
    assert gateways_told() == [gateway.public_id]


@pytest.mark.skipif(NGINX_ROOT is None, reason="nginx or its njs module is missing")
def test_nginx_takes_what_is_written(db: None, tmp_path: Path, settings: Any) -> None:
    written(tmp_path, settings, upstream="http://127.0.0.1:9")
    assert NGINX_ROOT is not None
    program, share = NGINX_ROOT / "usr/sbin/nginx", NGINX_ROOT / "usr/share/nginx"
    command: list[str | Path] = [program, "-t", "-e", tmp_path / "error.log", "-p", share]
    checked = subprocess.run(
        [*command, "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert checked.returncode == 0, checked.stderr


def test_a_log_outside_of_the_directory_of_logs_is_refused(db: None, tmp_path: Path, settings: Any) -> None:
    with pytest.raises(CommandError, match="Logs are read below"):
        written(tmp_path, settings, log=Path("/etc/edge.log"))
