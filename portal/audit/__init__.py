"""The audit as people read it, and its verification."""
