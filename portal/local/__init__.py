"""The embedded PostgreSQL and Valkey, and the processes around them, on one machine.

Imports nothing of Django, so that settings.py can ask for its environment here.
"""

from portal.local.foreground import Foreground
from portal.local.processes import death_signal, end_with_parent
from portal.local.services import LocalServices
from portal.local.state import LocalServicesError, default_environment

__all__ = [
    "Foreground",
    "LocalServices",
    "LocalServicesError",
    "death_signal",
    "default_environment",
    "end_with_parent",
]
