"""The demo organisation Northwind: people, budgets, keys and sixty days of usage, made in a few seconds; or
with a history as long as one likes, through the bulk ingest.
"""

from portal.demo.long import seed_history
from portal.demo.seed import Seeded, seed

__all__ = ["Seeded", "seed", "seed_history"]
