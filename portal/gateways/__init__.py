"""Gateways, for administrators: who asks for decisions, and the switch that ends it."""
