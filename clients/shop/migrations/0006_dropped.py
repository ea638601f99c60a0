from django.db import migrations, models


class Migration(migrations.Migration):
    """What is no longer needed goes."""

    dependencies = [("shop", "0005_renamed")]
    operations = [
        migrations.RemoveIndex("log", "log_by_level"),
        migrations.AlterUniqueTogether("log", set()),
        migrations.RemoveField("log", "old"),
        migrations.RemoveField("log", "extra"),
        migrations.CreateModel("Short", fields=[("id", models.UUIDField(primary_key=True, serialize=False))]),
        migrations.DeleteModel("Short"),
    ]
