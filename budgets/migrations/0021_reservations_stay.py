import django.db.models.deletion
from django.db import migrations, models

# In place of the foreign key, which every settlement paid for by looking for the reservation it had just locked.
STAYS = """
CREATE TRIGGER is_never_deleted BEFORE DELETE ON budgets_reservation
  FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
"""
MAY_GO = "DROP TRIGGER is_never_deleted ON budgets_reservation;"


class Migration(migrations.Migration):
    dependencies = [("budgets", "0020_no_index_of_corrections")]
    operations = [
        migrations.RunSQL(STAYS, MAY_GO),
        migrations.AlterField(
            model_name="entry",
            name="reservation",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="entries",
                to="budgets.reservation",
            ),
        ),
    ]
