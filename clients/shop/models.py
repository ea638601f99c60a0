import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now, Upper


class Category(models.Model):
    name = models.CharField(max_length=50, unique=True, db_comment="What it is called")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")

    class Meta:
        db_table_comment = "Categories of articles"
        ordering = ["name"]


class Tag(models.Model):
    word = models.SlugField(primary_key=True)


class Article(models.Model):
    category = models.ForeignKey(Category, on_delete=models.CASCADE, related_name="articles")
    tags = models.ManyToManyField(Tag, related_name="articles", blank=True)
    title = models.CharField(max_length=120, db_index=True)
    code = models.CharField(max_length=12, null=True, blank=True)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    stock = models.IntegerField(default=0, db_default=0)
    doubled = models.GeneratedField(expression=F("stock") * 2, output_field=models.IntegerField(), db_persist=True)
    changed = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["category", "-price"], name="article_by_price"),
            models.Index(Lower("title"), name="article_by_lower_title"),
            models.Index(fields=["code"], name="article_with_code", condition=Q(code__isnull=False)),
            models.Index(fields=["stock"], include=["price"], name="article_covering"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(price__gte=0), name="price_not_negative"),
            models.UniqueConstraint(fields=["category", "title"], name="title_once_in_category"),
            models.UniqueConstraint(Upper("code"), name="code_once_in_any_case"),
            models.UniqueConstraint(fields=["title"], condition=Q(stock=0), name="title_once_if_sold_out"),
        ]


class Detail(models.Model):
    article = models.OneToOneField(Article, on_delete=models.PROTECT, primary_key=True)
    note = models.TextField(blank=True)


class Everything(models.Model):
    id = models.BigAutoField(primary_key=True)
    big = models.BigIntegerField(null=True)
    binary = models.BinaryField(null=True)
    yes = models.BooleanField(default=False)
    chars = models.CharField(max_length=20, default="")
    unlimited = models.CharField(null=True)
    day = models.DateField(null=True)
    at = models.DateTimeField(null=True)
    number = models.DecimalField(max_digits=30, decimal_places=10, null=True)
    lasting = models.DurationField(null=True)
    mail = models.EmailField(blank=True, default="")
    file = models.FileField(upload_to="files", blank=True)
    path = models.FilePathField(path="/", blank=True, default="")
    floating = models.FloatField(null=True)
    address = models.GenericIPAddressField(null=True)
    whole = models.IntegerField(null=True)
    body = models.JSONField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_small = models.PositiveSmallIntegerField(null=True)
    slug = models.SlugField(default="")
    small = models.SmallIntegerField(null=True)
    text = models.TextField(default="")
    time = models.TimeField(null=True)
    url = models.URLField(default="")
    unique = models.UUIDField(default=uuid.uuid4, unique=True)
    words = ArrayField(models.CharField(max_length=10), null=True)
    grid = ArrayField(ArrayField(models.IntegerField()), null=True)


class SmallKey(models.Model):
    id = models.SmallAutoField(primary_key=True)
    year = models.IntegerField(null=True)


class Log(models.Model):
    """Made, altered, renamed and dropped in parts by the migrations."""

    id = models.BigAutoField(primary_key=True)
    message = models.TextField(default="none")
    level = models.SmallIntegerField(db_index=True)
    counted = models.BigIntegerField(default=0)
    category = models.ForeignKey(Category, null=True, on_delete=models.SET_NULL)

    class Meta:
        db_table = "shop_journal"
