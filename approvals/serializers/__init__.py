"""How approvals look in the management API."""
