"""All settings, read from the environment once, typed, with a safe default or a loud failure.

Without DATABASE_URL the embedded services of `make run` are assumed: their addresses and secrets come from
`.local/`. Each variable is a line in `.env.example`; `NAME_FILE` reads a secret from a file.
"""

import os
import re
import sys
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import structlog
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environs import FileAwareEnv
from psycopg.conninfo import conninfo_to_dict

from portal.local import default_environment

BASE_DIR = Path(__file__).resolve().parent.parent

if not os.environ.get("DATABASE_URL") and not os.environ.get("DATABASE_URL_FILE"):
    for _name, _value in default_environment(BASE_DIR).items():
        os.environ.setdefault(_name, _value)

env = FileAwareEnv()

DEBUG = env.bool("DEBUG", False)
SECRET_KEY: str = env.str("SECRET_KEY")
PORT: int = env.int("PORT", 8000)
WEB_WORKERS: int = env.int("WEB_WORKERS", 0)
BASE_URL: str = env.str("BASE_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
SECURE = BASE_URL.startswith("https://")
ORGANISATION_NAME: str = env.str("ORGANISATION_NAME", "Northwind")
GATEWAY_PUBLIC_URL: str = env.str("GATEWAY_PUBLIC_URL", "http://127.0.0.1:4000").rstrip("/")
VERSION = "0.1.0"
# How many proxies stand before the portal and add to X-Forwarded-For.
TRUSTED_PROXY_COUNT: int = env.int("TRUSTED_PROXY_COUNT", 0)


def _key_peppers(text: str) -> dict[int, bytes]:
    peppers: dict[int, bytes] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        number, _, value = part.partition(":")
        if not number.isdigit() or len(value) < 32:
            raise ImproperlyConfigured(
                "KEY_PEPPERS must look like `1:<32 or more hex digits>,2:<...>`; the highest number signs."
            )
        peppers[int(number)] = bytes.fromhex(value)
    if not peppers:
        raise ImproperlyConfigured(
            "KEY_PEPPERS is empty: no key could be issued or verified. Set at least `1:<64 hex digits>`."
        )
    return peppers


def _secret(name: str) -> bytes:
    value = env.str(name)
    if len(value) < 32:
        raise ImproperlyConfigured(
            f"{name} must have at least 32 characters; make one with `openssl rand -hex 32`."
        )
    return value.encode()


def _directory_roles(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Read `GROUP=ROLE` or `GROUP=ROLE:CODE`, several with semicolons between them."""
    roles: dict[str, tuple[tuple[str, str], ...]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        group, _, target = part.rpartition("=")
        role, _, code = target.partition(":")
        placed = role in {"lead", "director"}
        if not group or not (placed or role in {"finance", "auditor", "admin"}) or placed != bool(code):
            raise ImproperlyConfigured(
                f"DIRECTORY_ROLES: `{part}` must look like `Search leads=lead:search`,"
                " `Product heads=director:product`, or `Accountants=finance` (auditor, admin)."
            )
        roles[group.strip()] = (*roles.get(group.strip(), ()), (role, code))
    return roles


def _credential_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{5,}_", text):
        raise ImproperlyConfigured(
            "CREDENTIAL_ENV_PREFIX must have at least seven of A-Z, 0-9 and _, and end with _, such as"
            " PURSER_ADMIN_KEY_: it keeps other secrets of the environment from being read as admin keys."
        )
    return text


def _networks(name: str, networks: list[str]) -> list[str]:
    try:
        return [str(ip_network(network)) for network in networks]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}. Write networks such as 10.20.0.0/16.") from error


def _bearer_tokens(name: str, tokens: list[str]) -> list[bytes]:
    if any(len(token) < 32 for token in tokens):
        raise ImproperlyConfigured(
            f"{name}: each must have at least 32 characters; make one with `openssl rand -hex 32`."
        )
    return [token.encode() for token in tokens]


def _hosts(hosts: list[str]) -> list[str]:
    if "*" in hosts:
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS may not be *: links in mails would lead to whatever host a request names. Name"
            " the hosts that people use, such as purser.example.com."
        )
    return hosts


ALLOWED_HOSTS = _hosts(env.list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"]))
KEY_PEPPERS = _key_peppers(env.str("KEY_PEPPERS"))
GATEWAY_ROOT_SECRET = _secret("GATEWAY_ROOT_SECRET")
AUDIT_HMAC_KEY = _secret("AUDIT_HMAC_KEY")
OLD_SEAL_KEYS: list[str] = env.list("AUDIT_HMAC_OLD_KEYS", [])
AUDIT_HMAC_OLD_KEYS = [each.encode() for each in OLD_SEAL_KEYS]
AUDIT_ANCHOR_DIR: str = env.str("AUDIT_ANCHOR_DIR", str(BASE_DIR / ".local" / "anchors"))

INSTALLED_APPS = [
    "portal",
    "approvals",
    "gateway",
    "usage",
    "keys",
    "budgets",
    "catalog",
    "teams",
    "core",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "django_htmx",
    "template_partials",
    "csp",
    "rest_framework",
    "drf_spectacular",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "portal.bodies.refuse_cut_bodies",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "portal.middleware.request_context",
    "portal.sessions.TokenMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "portal.middleware.sign_in_required",
    "portal.gates.second_factor_first",
    "portal.gates.confirmation_first",
    "portal.middleware.last_seen",
    "portal.middleware.private_pages",
    "portal.refusals.bare_refusals",
    "portal.middleware.domain_errors",
    "portal.middleware.repeated_forms",
    "portal.middleware.whole_sign_in_changes",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
WSGI_APPLICATION = None

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.context.shell",
            ],
            "builtins": ["core.templatetags.ui"],
        },
    }
]
FORM_RENDERER = "core.forms.FieldRenderer"


DATABASE_LIMITS = ("statement_timeout=30s", "lock_timeout=5s", "idle_in_transaction_session_timeout=60s")


def _database(url: str) -> dict[str, Any]:
    parts = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.get("dbname", "purser"),
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": parts.get("port", ""),
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "pool": {"min_size": 1, "max_size": env.int("DATABASE_POOL_SIZE", 8), "timeout": 5},
            "options": " ".join(f"-c {limit}" for limit in DATABASE_LIMITS),
        },
    }


def _database_url() -> str:
    """Give the address of the role that owns the tables to the commands that change them, if there is one."""
    owner = env.str("MIGRATE_DATABASE_URL", "")
    return owner if owner and sys.argv[1:2] in (["migrate"], ["database_roles"]) else env.str("DATABASE_URL")


DATABASES = {"default": _database(_database_url())}
DECISION_POOL_SIZE: int = env.int("DECISION_POOL_SIZE", 4)
DECISION_DEADLINE_SECONDS: float = env.float("DECISION_DEADLINE_SECONDS", 2.0)
HOLD_SECONDS: int = env.int("HOLD_SECONDS", 600)
HOLD_SECONDS_FOR: dict[str, int] = env.dict(
    "HOLD_SECONDS_FOR",
    {"/v1/audio/transcriptions": 3_600, "/v1/audio/speech": 1_800, "batch": 90_000},
    subcast_values=int,
)
HOLD_GRACE_SECONDS: int = env.int("HOLD_GRACE_SECONDS", 60)
LEASE_SECONDS: int = env.int("LEASE_SECONDS", 30)
LEASE_FLOOR_USD: Decimal = env.decimal("LEASE_FLOOR_USD", Decimal("0.05"))

PERIOD_CLOSE_OPEN_USD: Decimal = env.decimal("PERIOD_CLOSE_OPEN_USD", Decimal(1))

LEAK_REPORTS_PER_MINUTE: int = env.int("LEAK_REPORTS_PER_MINUTE", 30)

REDIS_URL: str = env.str("REDIS_URL")
CACHES = {
    "default": {
        "BACKEND": "portal.cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "purser-cache",
        "OPTIONS": {"serializer": "portal.cache.Json", "socket_connect_timeout": 1, "socket_timeout": 1},
    }
}

AUTH_USER_MODEL = "teams.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_ADAPTER = "teams.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "reauthenticate": "10/m/user",
    "reset_password": "20/m/ip,5/m/key",
}
# Off for demonstrations only, such as `make run`: `check --deploy` refuses it.
MFA_REQUIRED: bool = env.bool("MFA_REQUIRED", True)
MFA_ADAPTER = "portal.factors.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
ACCOUNT_FORMS = {
    "login": "teams.forms.SignInForm",
    "change_password": "teams.forms.NewPasswordForm",
    "reset_password": "teams.forms.LinkForm",
    "reset_password_from_key": "teams.forms.FromLinkForm",
    "reauthenticate": "teams.forms.AgainForm",
}
MFA_FORMS = {"add_webauthn": "teams.forms.AddPasskeyForm"}
MFA_TOTP_ISSUER = "Purser"
# Browsers give passkeys to https:// and to http://localhost alone.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SECURE
SOCIALACCOUNT_ADAPTER = "teams.adapter.IdentityProviderAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
# A form that leads to another site is against our own content policy; a link is not.
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
OIDC_ISSUER: str = env.str("OIDC_ISSUER", "").rstrip("/")
OIDC_CLIENT_ID: str = env.str("OIDC_CLIENT_ID", "purser")
OIDC_CLIENT_SECRET: str = env.str("OIDC_CLIENT_SECRET", "")
OIDC_NAME: str = env.str("OIDC_NAME", "your company account")
OIDC_SCOPES: list[str] = env.list("OIDC_SCOPES", ["openid", "profile", "email"])
OIDC_GROUPS_CLAIM: str = env.str("OIDC_GROUPS_CLAIM", "groups")
OIDC_VERIFIES_EMAIL: bool = env.bool("OIDC_VERIFIES_EMAIL", False)
OIDC_CREATES_PEOPLE: bool = env.bool("OIDC_CREATES_PEOPLE", True)
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "company",
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": OIDC_CLIENT_SECRET,
                "settings": {
                    "server_url": OIDC_ISSUER,
                    "scope": OIDC_SCOPES,
                    "verified_email": OIDC_VERIFIES_EMAIL,
                },
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}
DIRECTORY_ROLES = _directory_roles(env.str("DIRECTORY_ROLES", ""))
SCIM_TOKENS = _bearer_tokens("SCIM_TOKENS", env.list("SCIM_TOKENS", []))
METRICS_TOKENS = _bearer_tokens("METRICS_TOKENS", env.list("METRICS_TOKENS", []))
METRICS_MAX_SERIES: int = env.int("METRICS_MAX_SERIES", 2_000)
OIDC_SAYS_WHEN: bool = env.bool("OIDC_SAYS_WHEN", True)
OIDC_PROVIDES_MFA: bool = env.bool("OIDC_PROVIDES_MFA", False)
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"

SESSION_ENGINE = "portal.sessions"
SESSION_COOKIE_NAME = "purser_session"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 14 * 86_400
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
CSRF_TRUSTED_ORIGINS = [BASE_URL]
CSRF_FAILURE_VIEW = "portal.refusals.csrf_failure"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("TRUST_FORWARDED_PROTO", False) else None
)
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
FILE_UPLOAD_HANDLERS = ["core.uploads.SmallFileHandler"]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / ".local" / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE: str = env.str("TIME_ZONE", "UTC")

EMAIL_HOST: str = env.str("EMAIL_HOST", "")
EMAIL_PORT: int = env.int("EMAIL_PORT", 587)
EMAIL_HOST_USER: str = env.str("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD: str = env.str("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS: bool = env.bool("EMAIL_USE_TLS", True)
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if EMAIL_HOST
    else "django.core.mail.backends.filebased.EmailBackend"
)
EMAIL_TIMEOUT = 10
EMAIL_FILE_PATH = str(BASE_DIR / ".local" / "mail")
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", "purser@localhost")

WEBHOOK_ALLOWED_NETWORKS = _networks("WEBHOOK_ALLOWED_NETWORKS", env.list("WEBHOOK_ALLOWED_NETWORKS", []))
# What the admin keys of providers may be read from: variables of this prefix, files below this directory.
CREDENTIAL_ENV_PREFIX = _credential_prefix(env.str("CREDENTIAL_ENV_PREFIX", "PURSER_ADMIN_KEY_"))
CREDENTIAL_DIRECTORY: str = env.str("CREDENTIAL_DIRECTORY", "/run/secrets/purser")
PROVIDER_ALLOWED_NETWORKS = _networks("PROVIDER_ALLOWED_NETWORKS", env.list("PROVIDER_ALLOWED_NETWORKS", []))
# A gateway most often stands on this machine, or in a network of the house that has to be named.
GATEWAY_ALLOWED_NETWORKS = _networks(
    "GATEWAY_ALLOWED_NETWORKS", env.list("GATEWAY_ALLOWED_NETWORKS", ["127.0.0.0/8", "::1/128"])
)
GATEWAY_LOG_DIRECTORY: str = env.str("GATEWAY_LOG_DIRECTORY", "/var/log/purser-gateways")
SLACK_BOT_TOKEN: str = env.str("SLACK_BOT_TOKEN", "")
SLACK_SIGNING_SECRET: str = env.str("SLACK_SIGNING_SECRET", "")
SLACK_API_URL: str = env.str("SLACK_API_URL", "https://slack.com/api").rstrip("/")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["keys.authentication.Bearer", "core.rest.authentication.Session"],
    "DEFAULT_PERMISSION_CLASSES": [
        "keys.authentication.SignedInWithinScope",
        "portal.factors.SecondFactorOfTheOwner",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["core.rest.parsing.JsonParser"],
    "DEFAULT_SCHEMA_CLASS": "core.rest.schema.NounSchema",
    "EXCEPTION_HANDLER": "portal.api.problem_response",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Purser",
    "VERSION": VERSION,
    "DESCRIPTION": "Control of LLM spend: teams, projects, budgets, tiers, approvals, keys and usage.",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    # Names that several fields share, with other choices in other places.
    "ENUM_NAME_OVERRIDES": {
        "ScopeKindEnum": "budgets.models.ScopeKind",
        "BudgetModeEnum": "budgets.models.Mode",
        "ModelModeEnum": "catalog.models.Mode",
        "RoleEnum": "teams.models.Role",
        "DecidingRoleEnum": "approvals.serializers.policies.DECIDES",
        "NewsChannelEnum": "core.models.Channel",
        "OutboxKindEnum": "core.models.OutboxKind",
        "RequestStatusEnum": "approvals.models.RequestStatus",
        "ProposalStatusEnum": "approvals.models.ProposalStatus",
        "KeyStateEnum": "keys.models.KeyState",
    },
}

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 60  # of every job: what takes longer goes on in its next run (core.walks)
CELERY_TASK_SOFT_TIME_LIMIT = 58
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# A job whose worker is gone is queued again after 600 s; each poll looks for such jobs.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 600,
    "unacked_restore_throttle": 1,
    "global_keyprefix": "purser:",
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Months whose single calls are kept; 0 keeps all. Roll-ups and the ledger are kept for ever.
USAGE_KEEP_MONTHS: int = env.int("USAGE_KEEP_MONTHS", 0)
# Days for which messages that ended are kept; 0 keeps all. The least is the database's: 30.
OUTBOX_KEEP_DAYS: int = env.int("OUTBOX_KEEP_DAYS", 90)
PULL_EVERY_SECONDS: float = env.float("PULL_EVERY_SECONDS", 60.0)
ALERT_EVERY_SECONDS: float = env.float("ALERT_EVERY_SECONDS", 60.0)
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "pull-usage": {"task": "gateway.pull_usage", "schedule": PULL_EVERY_SECONDS},
    "pull-logs": {"task": "gateway.pull_logs", "schedule": 60.0},
    "recount-logs": {"task": "gateway.recount_logs", "schedule": crontab(hour=1, minute=20)},
    "pull-reports": {"task": "gateway.pull_reports", "schedule": 60.0},
    "expire-holds": {"task": "usage.expire_holds", "schedule": 15.0},
    "stop-runaways": {"task": "usage.stop_runaways", "schedule": 60.0},
    "tell-of-suspensions": {"task": "keys.tell_of_suspensions", "schedule": 10.0},
    "reclaim-leases": {"task": "usage.reclaim_leases", "schedule": 15.0},
    "forget-nonces": {"task": "gateway.forget_nonces", "schedule": 60.0},
    "forget-standings": {"task": "gateway.forget_standings", "schedule": 3_600.0},
    "expire-requests": {"task": "approvals.expire_requests", "schedule": 60.0},
    "tell-of-expiring-keys": {"task": "keys.tell_of_expiring", "schedule": 3600.0},
    "forget-idempotent-calls": {"task": "portal.forget_idempotent_calls", "schedule": 3600.0},
    "forget-messages": {"task": "portal.forget_messages", "schedule": 3600.0},
    "collect-digests": {"task": "portal.collect_digests", "schedule": 60.0},
    "remind": {"task": "approvals.remind", "schedule": 300.0},
    "follow-requests": {"task": "approvals.follow", "schedule": 120.0},
    "drain-outbox": {"task": "portal.drain_outbox", "schedule": 10.0},
    "seal-audit": {"task": "portal.seal_audit", "schedule": 60.0},
    "verify-audit": {"task": "portal.verify_audit", "schedule": 60.0},
    "tell-of-spend": {"task": "usage.tell_of_spend", "schedule": ALERT_EVERY_SECONDS},
    "tell-of-forecasts": {"task": "usage.tell_of_forecasts", "schedule": 600.0},
    "watch-spend": {"task": "usage.watch_spend", "schedule": 300.0},
    "make-partitions": {"task": "usage.make_partitions", "schedule": crontab(hour=0, minute=10)},
    "fold-days": {"task": "usage.fold_days", "schedule": 600.0},
    "recount-usage": {"task": "usage.recount_yesterday", "schedule": crontab(hour=1, minute=40)},
    "retire-months": {"task": "usage.retire_months", "schedule": crontab(hour=4, minute="*/5")},
    "verify-ledger": {"task": "portal.verify_ledger", "schedule": 60.0},
    "check-prices": {"task": "usage.check_prices", "schedule": crontab(hour=1, minute=20)},
    "run-repricings": {"task": "usage.run_repricings", "schedule": 60.0},
    "reconcile": {"task": "usage.reconcile_recent_days", "schedule": 600.0},
    "reconcile-new-figures": {"task": "usage.reconcile_new_figures", "schedule": 600.0},
    "true-up-carry": {"task": "budgets.true_up_carry", "schedule": 300.0},
    "heartbeat": {"task": "portal.heartbeat", "schedule": 15.0},
}
# An alarm that nobody heard until the next one is dropped, so that none pile up behind a job that hangs. The
# clocks of beat and worker may differ by ten minutes.
for _alarm in CELERY_BEAT_SCHEDULE.values():
    _seconds = _alarm["schedule"] if isinstance(_alarm["schedule"], float) else 3_600.0
    _alarm["options"] = {"expires": max(_seconds, 660.0)}

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": [
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {
        # A refused call is an answer, not an incident: 4xx of pages and API stay out of the log.
        "django.request": {"level": "ERROR"},
        "uvicorn.access": {"level": "WARNING"},
    },
}
