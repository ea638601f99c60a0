from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.deletion import CASCADE, PROTECT
from django.db.models.functions import Lower, Now, Upper


class Migration(migrations.Migration):
    """Tables that refer to each other, with indexes and constraints of every kind."""

    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.CreateModel("Article", fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("title", models.CharField(db_index=True, max_length=120)),
            ("code", models.CharField(blank=True, max_length=12, null=True)),
            ("price", models.DecimalField(decimal_places=2, max_digits=12)),
            ("stock", models.IntegerField(db_default=0, default=0)),
            ("doubled", models.GeneratedField(db_persist=True, expression=F("stock") * 2, output_field=models.IntegerField())),
            ("changed", models.DateTimeField(db_default=Now())),
            ("category", models.ForeignKey("shop.category", on_delete=CASCADE, related_name="articles")),
            ("tags", models.ManyToManyField("shop.tag", blank=True, related_name="articles")),
        ], options={"ordering": ["id"]}),
        migrations.CreateModel("Detail", fields=[
            ("article", models.OneToOneField("shop.article", on_delete=PROTECT, primary_key=True, serialize=False)),
            ("note", models.TextField(blank=True)),
        ]),
        migrations.AddIndex("article", models.Index(fields=["category", "-price"], name="article_by_price")),
        migrations.AddIndex("article", models.Index(Lower("title"), name="article_by_lower_title")),
        migrations.AddIndex("article", models.Index(fields=["code"], name="article_with_code", condition=Q(code__isnull=False))),
        migrations.AddIndex("article", models.Index(fields=["stock"], name="article_covering", include=["price"])),
        migrations.AddConstraint("article", models.CheckConstraint(condition=Q(price__gte=0), name="price_not_negative")),
        migrations.AddConstraint("article", models.UniqueConstraint(fields=["category", "title"], name="title_once_in_category")),
        migrations.AddConstraint("article", models.UniqueConstraint(Upper("code"), name="code_once_in_any_case")),
        migrations.AddConstraint(
            "article", models.UniqueConstraint(fields=["title"], condition=Q(stock=0), name="title_once_if_sold_out")),
    ]
