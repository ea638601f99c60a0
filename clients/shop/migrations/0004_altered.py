from django.db import migrations, models
from django.db.models.deletion import SET_NULL


class Migration(migrations.Migration):
    """Columns get other types, defaults, indexes, constraints, comments."""

    dependencies = [("shop", "0003_rows")]
    operations = [
        migrations.AlterField("category", "name", models.CharField(max_length=50, unique=True, db_comment="What it is called")),
        migrations.AlterModelTableComment("category", "Categories of articles"),
        migrations.AlterModelOptions("category", {"ordering": ["name"]}),
        migrations.AlterField("entry", "id", models.BigAutoField(primary_key=True, serialize=False)),
        migrations.AlterField("entry", "text", models.TextField(default="none")),
        migrations.AlterField("entry", "level", models.SmallIntegerField(db_index=True)),
        migrations.AlterField("entry", "counted", models.BigIntegerField(default=0)),
        migrations.AlterField("entry", "old", models.IntegerField(null=True)),
        migrations.AlterField("entry", "owner", models.ForeignKey("shop.category", null=True, on_delete=SET_NULL)),
        migrations.AddField("entry", "extra", models.DecimalField(max_digits=8, decimal_places=2, default="1.25")),
        migrations.AlterField("entry", "extra", models.FloatField(null=True)),
        migrations.AlterUniqueTogether("entry", {("text", "level")}),
    ]
