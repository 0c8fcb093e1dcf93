"""What ingest, roll-ups and reconciliation of usage can do: the figures of docs/performance.md, Usage."""
