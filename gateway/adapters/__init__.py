"""One module for each gateway product: what Purser writes for it and how its usage is read.

Nothing else knows products.
"""
