import django.db.models.deletion
from django.db import migrations, models

# The primary key begins with the budget. A second index of it alone was what a decision went by, which reads
# every window that the budget ever had.


class Migration(migrations.Migration):
    dependencies = [("budgets", "0017_alerts")]
    operations = [
        migrations.AlterField(
            model_name="balance",
            name="budget",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="balances",
                to="budgets.budget",
            ),
        ),
    ]
