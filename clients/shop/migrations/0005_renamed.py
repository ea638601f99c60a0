from django.db import migrations, models


class Migration(migrations.Migration):
    """Tables, columns and indexes get other names."""

    dependencies = [("shop", "0004_altered")]
    operations = [
        migrations.RenameField("entry", "text", "message"),
        migrations.RenameField("entry", "owner", "category"),
        migrations.RenameModel("Entry", "Log"),
        migrations.AlterModelTable("log", "shop_journal"),
        migrations.RenameIndex("log", new_name="log_by_level", old_name="entry_by_level"),
        migrations.RunSQL(
            "update shop_journal set message = upper(message) where level > 2; select count(*) from shop_journal",
            "update shop_journal set message = lower(message) where level > 2"),
    ]
