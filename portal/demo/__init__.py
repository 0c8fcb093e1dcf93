"""The demo organisation Northwind: people, budgets, keys and sixty days of usage, made in a few seconds."""

from portal.demo.seed import seed

__all__ = ["seed"]
