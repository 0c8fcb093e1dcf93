"""What people enter about usage: prices of the past, providers, bills, rows that could not be booked."""
