from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP TRIGGER price_is_dated ON catalog_price;
DROP TRIGGER price_is_not_truncated ON catalog_price;
DROP FUNCTION catalog_price_is_dated();
DROP TRIGGER alias_name_is_free ON catalog_alias;
DROP TRIGGER model_name_is_free ON catalog_llmmodel;
DROP FUNCTION catalog_one_name_space();
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial"), ("core", "0002_append_only")]
    operations = [sql_beside(__file__, undo=UNDO)]
