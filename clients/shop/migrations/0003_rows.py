from django.db import migrations, models


def fill(apps, schema_editor):
    category = apps.get_model("shop", "Category").objects.create(name="first")
    entries = apps.get_model("shop", "Entry").objects
    for number in range(5):
        entries.create(text=f"t{number}" if number else None, level=number, counted=str(number * 10), old=number, owner=category)


def empty(apps, schema_editor):
    apps.get_model("shop", "Entry").objects.all().delete()
    apps.get_model("shop", "Category").objects.filter(name="first").delete()


class Migration(migrations.Migration):
    """Rows, so that what follows changes columns that hold something."""

    dependencies = [("shop", "0002_articles")]
    operations = [
        migrations.AddField("smallkey", "year", models.IntegerField(null=True)),
        migrations.RunPython(fill, empty),
    ]
