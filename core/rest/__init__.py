"""What every noun of the management API shares: strict fields, pages by cursor, documented refusals."""
