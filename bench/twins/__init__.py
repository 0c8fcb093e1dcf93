"""What the decision engine is measured against: the same decision written the usual way."""
