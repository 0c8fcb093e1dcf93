"""The portal's settings, without all that a decision does not need: the twin should be as fast as it can."""

from portal.settings import *  # noqa: F403
from portal.settings import DATABASE_LIMITS, DATABASES

INSTALLED_APPS = ["approvals", "gateway", "usage", "keys", "budgets", "catalog", "teams", "core"]
INSTALLED_APPS += [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.postgres",
    "rest_framework",
]
MIDDLEWARE = []
ROOT_URLCONF = "bench.twins.wsgi"
LOGGING_CONFIG = None
# A connection of its own for each thread, never given back: no pool, no check before each request.
DATABASES["default"] |= {
    "CONN_MAX_AGE": None,
    "CONN_HEALTH_CHECKS": False,
    "OPTIONS": {"options": " ".join(f"-c {limit}" for limit in DATABASE_LIMITS)},
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "UNAUTHENTICATED_USER": None,
}
