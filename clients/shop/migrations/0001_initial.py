import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models.deletion import CASCADE, SET_NULL


class Migration(migrations.Migration):
    """Every type of field, and what the later migrations change."""

    initial = True
    operations = [
        migrations.CreateModel("Category", fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("name", models.CharField(max_length=30)),
            ("parent", models.ForeignKey("shop.category", null=True, blank=True, on_delete=SET_NULL, related_name="children")),
        ]),
        migrations.CreateModel("Tag", fields=[("word", models.SlugField(primary_key=True, serialize=False))]),
        migrations.CreateModel("Everything", fields=[
            ("id", models.BigAutoField(primary_key=True, serialize=False)),
            ("big", models.BigIntegerField(null=True)),
            ("binary", models.BinaryField(null=True)),
            ("yes", models.BooleanField(default=False)),
            ("chars", models.CharField(default="", max_length=20)),
            ("unlimited", models.CharField(null=True)),
            ("day", models.DateField(null=True)),
            ("at", models.DateTimeField(null=True)),
            ("number", models.DecimalField(decimal_places=10, max_digits=30, null=True)),
            ("lasting", models.DurationField(null=True)),
            ("mail", models.EmailField(blank=True, default="", max_length=254)),
            ("file", models.FileField(blank=True, upload_to="files")),
            ("path", models.FilePathField(blank=True, default="", path="/")),
            ("floating", models.FloatField(null=True)),
            ("address", models.GenericIPAddressField(null=True)),
            ("whole", models.IntegerField(null=True)),
            ("body", models.JSONField(null=True)),
            ("positive_big", models.PositiveBigIntegerField(null=True)),
            ("positive", models.PositiveIntegerField(null=True)),
            ("positive_small", models.PositiveSmallIntegerField(null=True)),
            ("slug", models.SlugField(default="")),
            ("small", models.SmallIntegerField(null=True)),
            ("text", models.TextField(default="")),
            ("time", models.TimeField(null=True)),
            ("url", models.URLField(default="")),
            ("unique", models.UUIDField(default=uuid.uuid4, unique=True)),
            ("words", ArrayField(base_field=models.CharField(max_length=10), null=True, size=None)),
            ("grid", ArrayField(base_field=ArrayField(base_field=models.IntegerField(), size=None), null=True, size=None)),
        ]),
        migrations.CreateModel("SmallKey", fields=[("id", models.SmallAutoField(primary_key=True, serialize=False))]),
        migrations.CreateModel("Entry", fields=[
            ("id", models.AutoField(primary_key=True, serialize=False)),
            ("text", models.CharField(max_length=10, null=True)),
            ("level", models.IntegerField()),
            ("counted", models.CharField(max_length=8, default="0")),
            ("old", models.IntegerField(null=True, unique=True)),
            ("owner", models.ForeignKey("shop.category", on_delete=CASCADE)),
        ], options={"indexes": [models.Index(fields=["level", "old"], name="entry_by_level")]}),
    ]
