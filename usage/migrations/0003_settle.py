from django.db import migrations


class Migration(migrations.Migration):
    """Made settlement functions that 0005 replaces."""

    dependencies = [
        ("usage", "0002_partitions"),
        ("budgets", "0002_ledger"),
        ("catalog", "0002_pricing"),
    ]
    operations: list[object] = []
