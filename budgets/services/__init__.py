"""What may be done with budgets; one module a noun."""
