"""Django: migrates a project with every type of field, reads its schema back, and queries. One line a step; the same steps
are run against PostgreSQL."""

import contextlib
import datetime
import decimal
import io
import json
import os
import uuid

import django
import psycopg
from django.conf import settings

DATABASE = "django_shop"
ADDRESS = dict(host=os.environ["PGHOST"], port=os.environ["PGPORT"], user="postgres")

with psycopg.connect(**ADDRESS, dbname="postgres", autocommit=True) as admin:
    admin.execute(f"drop database if exists {DATABASE}")
    admin.execute(f"create database {DATABASE} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'")

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "HOST": ADDRESS["host"],
                           "PORT": ADDRESS["port"], "USER": "postgres"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django.contrib.admin",
                    "django.contrib.messages", "django.contrib.postgres", "shop"],
    SECRET_KEY="none", USE_TZ=True, TIME_ZONE="UTC", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", SILENCED_SYSTEM_CHECKS=["admin"],
)
django.setup()

from django.contrib.auth.models import Group, Permission, User
from django.contrib.postgres.aggregates import ArrayAgg, BoolAnd, JSONBAgg, StringAgg
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models import Avg, Case, Count, Exists, F, Max, Min, OuterRef, Q, StdDev, Subquery, Sum, Value, When, Window
from django.db.models.functions import (
    Cast, Coalesce, Concat, ExtractWeek, ExtractYear, Greatest, JSONObject, Lag, Least, Left, Length, LPad, MD5, NullIf, Rank, Repeat,
    Replace, Reverse, Round, RowNumber, StrIndex, Substr, Trim, TruncHour, TruncMonth, Upper,
)
from django.db.utils import Error
from shop.models import Article, Category, Detail, Everything, Log, SmallKey, Tag


def say(step, outcome):
    print(f"{step}: {json.dumps(outcome, default=str, ensure_ascii=False)}", flush=True)


def step(name, work):
    try:
        say(name, work())
    except Error as error:
        cause = error.__cause__
        say(name, f"error {type(error).__name__} {getattr(cause, 'sqlstate', None)}")
    except Exception as error:
        say(name, f"error {type(error).__name__}: {error}")


def rows(sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def command(*words, **options):
    output = io.StringIO()
    call_command(*words, stdout=output, stderr=output, no_color=True, **options)
    return [line.strip() for line in output.getvalue().splitlines() if line.strip()]


# The schema.
step("check", lambda: command("check", "shop", databases=["default"]))
step("migrations are complete", lambda: command("makemigrations", "--check", "--dry-run"))
for app in ["contenttypes", "auth", "sessions", "admin"]:
    step(f"migrate {app}", lambda: command("migrate", app, verbosity=1))
for number in ["0001", "0002", "0003", "0004", "0005", "0006"]:
    step(f"migrate shop {number}", lambda: command("migrate", "shop", number, verbosity=1))
step("showmigrations", lambda: command("showmigrations"))
step("migrate back to 0003", lambda: command("migrate", "shop", "0003", verbosity=1))
step("migrate again", lambda: command("migrate", verbosity=1))
step("flush", lambda: command("flush", interactive=False, verbosity=0))

with connection.cursor() as cursor:
    TABLES = sorted(info.name for info in connection.introspection.get_table_list(cursor))
say("tables", TABLES)


def described(table):
    with connection.cursor() as cursor:
        return [list(column) for column in connection.introspection.get_table_description(cursor, table)]


def constraints(table):
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
        return {name: {key: found[name][key] for key in sorted(found[name])} for name in sorted(found)}


def introspected(method):
    def ask(table):
        with connection.cursor() as cursor:
            return getattr(connection.introspection, method)(cursor, table)
    return ask


for table in TABLES:
    step(f"columns of {table}", lambda: described(table))
    step(f"constraints of {table}", lambda: constraints(table))
    step(f"keys of {table}", lambda: [introspected("get_primary_key_columns")(table), sorted(introspected("get_relations")(table).items())])
    step(f"sequences of {table}", lambda: introspected("get_sequences")(table))
for number, line in enumerate(command("inspectdb")):
    say(f"inspectdb {number}", line)

# Rows of every type.
def bytes_or(value):
    return bytes(value) if isinstance(value, memoryview) else value


UTC = datetime.timezone.utc
FULL = dict(
    big=2**62, binary=b"\x00\xff", yes=True, chars="chars", unlimited="x" * 300, day=datetime.date(2024, 2, 29),
    at=datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, UTC), number=decimal.Decimal("12345678901234567890.0123456789"),
    lasting=datetime.timedelta(days=3, hours=2, microseconds=5), mail="a@b.example", floating=0.1, address="192.0.2.7", whole=-5,
    body={"a": [1, {"b": None}], "c": "x"}, positive_big=2**60, positive=7, positive_small=8, slug="a-b", small=-3, text="ÄÖ ß",
    time=datetime.time(23, 59, 59, 999999), url="http://example.org/", unique=uuid.UUID(int=5), words=["a", "b c", ""], grid=[[1, 2], [3, 4]],
)
step("insert every type", lambda: Everything.objects.create(**FULL).pk)
step("insert defaults", lambda: Everything.objects.create(unique=uuid.UUID(int=6)).pk)
step("read every type", lambda: list(Everything.objects.filter(pk=1).values()))
step("read it back equal", lambda: [name for name, value in FULL.items() if bytes_or(getattr(Everything.objects.get(pk=1), name)) != value])


for name, value in FULL.items():
    step(f"filter by {name}", lambda: list(Everything.objects.filter(**{name: value}).values_list("pk", flat=True)))
step("duplicate", lambda: Everything.objects.create(unique=uuid.UUID(int=5)).pk)
step("negative", lambda: Everything.objects.create(positive=-1).pk)
step("too long", lambda: Everything.objects.create(chars="x" * 21).pk)
step("small key", lambda: [SmallKey.objects.create(year=year).pk for year in (1999, 2000)])
LOOKUPS = dict(
    chars__contains="ha", chars__icontains="HA", chars__startswith="ch", chars__istartswith="CH", chars__endswith="rs", chars__iexact="CHARS",
    chars__regex=r"^c.a", chars__iregex=r"^C.A", chars__in=["chars", "x"], day__year=2024, day__month=2, day__day=29, day__week_day=5,
    day__iso_year=2024, day__quarter=1, day__week=9, at__date=datetime.date(2024, 2, 29), at__hour=12, at__minute=30, at__second=15,
    at__time=datetime.time(12, 30, 15, 123456), at__gt=datetime.datetime(2024, 1, 1, tzinfo=UTC), time__hour=23, day__range=("2024-01-01", "2024-12-31"),
    body__a__0=1, body__c="x", body__has_key="a", body__has_any_keys=["z", "a"], body__has_keys=["a", "c"], body__contains={"c": "x"},
    body__contained_by={"a": [1, {"b": None}], "c": "x", "d": 1}, body__a__1__b=None, body__c__icontains="X", body__isnull=False,
    words__contains=["a"], words__contained_by=["a", "b c", "", "z"], words__overlap=["q", "a"], words__len=3, words__0="a", words__0_2=["a", "b c"],
    grid__0__1=2, number__gt=1, floating__lt=0.5, lasting__gt=datetime.timedelta(days=1), address__startswith="192", binary__isnull=False, whole__lt=0,
    text__contains="ß", unique__in=[uuid.UUID(int=5)], mail__iendswith="EXAMPLE",
)
for name, value in LOOKUPS.items():
    step(f"lookup {name}", lambda: list(Everything.objects.filter(**{name: value}).values_list("pk", flat=True)))
step("order of nulls", lambda: list(Everything.objects.order_by(F("whole").asc(nulls_first=True), "pk").values_list("pk", flat=True)))


# Rows that refer to each other.
def fill():
    root = Category.objects.create(name="root")
    for number in range(3):
        child = Category.objects.create(name=f"child {number}", parent=root)
        Article.objects.bulk_create([
            Article(category=child, title=f"title {number}-{place}", code=f"c{number}{place}" if place else None,
                    price=decimal.Decimal(number * 10 + place) / 4, stock=place) for place in range(4)
        ])
    words = [Tag.objects.create(word=word) for word in ("new", "old", "odd")]
    for article in Article.objects.all():
        article.tags.set(words[: article.id % 3])
    for article in Article.objects.filter(stock=3):
        Detail.objects.create(article=article, note=f"about {article.title}")
    return [Category.objects.count(), Article.objects.count(), Article.tags.through.objects.count()]


step("fill", fill)
articles = Article.objects
step("generated column", lambda: list(articles.values_list("stock", "doubled")[:4]))
step("default of the database", lambda: articles.filter(changed__lte=datetime.datetime.now(UTC)).count())
step("refresh", lambda: [articles.create(category_id=1, title="fresh", price=1).doubled])
step("join", lambda: list(articles.filter(category__parent__name="root", price__lt=3).values_list("title", "category__name")))
step("select_related", lambda: [(detail.article.title, detail.article.category.parent.name) for detail in Detail.objects.select_related("article__category__parent").order_by("pk")])
step("prefetch_related", lambda: [(a.title, sorted(t.word for t in a.tags.all())) for a in articles.prefetch_related("tags")[:4]])
step("many to many", lambda: list(articles.filter(tags__word="old").order_by("title").values_list("title", flat=True)))
step("exclude many to many", lambda: articles.exclude(tags__word="old").count())
step("reverse", lambda: list(Category.objects.annotate(n=Count("articles")).order_by("name").values_list("name", "n")))
step("aggregate", lambda: articles.aggregate(n=Count("id"), total=Sum("price"), mean=Avg("price"), least=Min("price"), most=Max("title"), deviation=StdDev("stock")))
step("filtered aggregate", lambda: list(Category.objects.annotate(n=Count("articles", filter=Q(articles__stock__gt=1)), total=Coalesce(Sum("articles__price"), Value(0), output_field=models.DecimalField())).order_by("name").values_list("name", "n", "total")))
step("distinct aggregate", lambda: articles.aggregate(n=Count("category", distinct=True)))
step("having", lambda: list(articles.values("category__name").annotate(n=Sum("stock")).filter(n__gt=5).order_by("category__name").values_list("category__name", "n")))
step("subquery", lambda: list(Category.objects.annotate(dearest=Subquery(articles.filter(category=OuterRef("pk")).order_by("-price").values("title")[:1])).order_by("name").values_list("name", "dearest")))
step("exists", lambda: list(Category.objects.filter(Exists(articles.filter(category=OuterRef("pk"), stock=0))).values_list("name", flat=True)))
step("not exists", lambda: list(Category.objects.filter(~Exists(articles.filter(category=OuterRef("pk"), stock=0))).values_list("name", flat=True)))
step("in a subquery", lambda: articles.filter(category__in=Category.objects.filter(name__startswith="child").values("pk")[:2]).count())
step("window", lambda: list(articles.annotate(place=Window(RowNumber(), partition_by=["category"], order_by=["-price", "id"]), before=Window(Lag("price"), partition_by="category", order_by="id"), rank=Window(Rank(), order_by="stock")).order_by("id").values_list("id", "place", "before", "rank")))
step("filter by a window", lambda: list(articles.annotate(place=Window(RowNumber(), partition_by=["category"], order_by=["-price", "id"])).filter(place=1).order_by("id").values_list("title", flat=True)))
step("case", lambda: list(articles.annotate(kind=Case(When(stock=0, then=Value("none")), When(stock__lt=2, then=Value("few")), default=Value("many"))).values_list("kind").annotate(n=Count("id")).order_by("kind")))
step("union", lambda: list(articles.filter(stock=0).values_list("title").union(articles.filter(price__lt=1).values_list("title")).order_by("title")))
step("intersection", lambda: list(articles.filter(stock=0).values_list("id").intersection(articles.filter(price__lt=1).values_list("id")).order_by("id")))
step("difference", lambda: list(articles.filter(stock=0).values_list("id").difference(articles.filter(price__lt=1).values_list("id")).order_by("id")))
step("distinct on", lambda: list(articles.order_by("category_id", "-price").distinct("category_id").values_list("title", flat=True)))
step("dates", lambda: [str(day) for day in Everything.objects.filter(day__isnull=False).dates("day", "month")])
step("datetimes", lambda: [str(at) for at in Everything.objects.filter(at__isnull=False).datetimes("at", "hour")])
step("truncated", lambda: list(Everything.objects.filter(pk=1).values_list(TruncMonth("day"), TruncHour("at"), ExtractYear("day"), ExtractWeek("day"))))
TEXTS = articles.filter(pk=2)
step("functions of text", lambda: list(TEXTS.values_list(Concat("title", Value("/"), "code"), Length("title"), Upper("title"), Left("title", 3), Substr("title", 2, 4), StrIndex("title", Value("t")), LPad("code", 6, Value("*")), Replace("title", Value("t"), Value("T")), Reverse("title"), Repeat("code", 2), Trim(Value("  x ")), MD5("title"))))
step("functions of numbers", lambda: list(TEXTS.values_list(Round("price"), Greatest("price", "stock", output_field=models.DecimalField()), Least("price", Value(0), output_field=models.DecimalField()), NullIf("stock", Value(1)), Cast("price", models.IntegerField()), Cast("stock", models.CharField()), models.ExpressionWrapper(F("price") * F("stock") + 1, models.DecimalField()), F("stock") % 2)))
step("json object", lambda: list(TEXTS.values_list(JSONObject(t="title", n="stock"))))
step("aggregates of PostgreSQL", lambda: articles.filter(category__name="child 0").aggregate(a=ArrayAgg("title", ordering="-title"), s=StringAgg("title", "; ", ordering="title"), j=JSONBAgg("stock", ordering="stock"), b=BoolAnd(Q(stock__gte=0))))
step("json key transform", lambda: list(Everything.objects.order_by("body__c", "pk").values_list("pk", "body__a__0", "body__c")))
step("explain", lambda: bool(articles.filter(pk=1).explain()))

# Changes.
step("update", lambda: articles.filter(stock__gt=1).update(price=F("price") + 1, title=Concat("title", Value("!"))))
step("update by a subquery", lambda: articles.filter(category__name="child 1", detail__isnull=False).update(stock=Subquery(Detail.objects.filter(article=OuterRef("pk")).values("article_id")[:1])))
step("update by a subquery that gives null", lambda: articles.filter(pk__gt=8).update(code=Subquery(Detail.objects.filter(article=OuterRef("pk")).annotate(short=Left("note", 12)).values("short")[:1])))
step("bulk_update", lambda: articles.bulk_update([Article(pk=pk, stock=pk) for pk in (1, 2, 3)], ["stock"]))
step("get_or_create", lambda: [Tag.objects.get_or_create(word=word)[1] for word in ("new", "newest")])
step("update_or_create", lambda: [SmallKey.objects.update_or_create(id=pk, defaults={"year": 7})[1] for pk in (1, 50)])
step("bulk_create, ignoring conflicts", lambda: len(Tag.objects.bulk_create([Tag(word="new"), Tag(word="other")], ignore_conflicts=True)))
step("bulk_create, updating conflicts", lambda: [key.year for key in SmallKey.objects.bulk_create([SmallKey(id=1, year=1), SmallKey(id=60, year=2)], update_conflicts=True, unique_fields=["id"], update_fields=["year"])])
step("check constraint", lambda: articles.filter(pk=1).update(price=-1))
step("unique constraint", lambda: articles.create(category_id=2, title="title 0-0", price=1))
step("unique expression", lambda: [articles.create(category_id=1, title=code, price=1, code=code).code for code in ("aBc", "AbC")])
step("unique with a condition", lambda: [articles.create(category_id=category, title="sold", price=1, stock=0).title for category in (1, 2)])
step("foreign key", lambda: [articles.create(category_id=999, title="lost", price=1).title, connection.check_constraints()])
step("protected", lambda: Category.objects.get(name="child 0").delete())
step("delete", lambda: articles.filter(detail__isnull=True, stock=0).delete())
step("delete a tree", lambda: [Detail.objects.all().delete(), Category.objects.filter(name="child 0").delete()])


def atomic():
    outcomes = []
    with transaction.atomic():
        Tag.objects.create(word="outer")
        try:
            with transaction.atomic():
                Tag.objects.create(word="inner")
                Tag.objects.create(word="outer")
        except Error as error:
            outcomes.append(error.__cause__.sqlstate)
        outcomes.append(sorted(Tag.objects.values_list("word", flat=True)))
    try:
        with transaction.atomic():
            Tag.objects.create(word="lost")
            raise ValueError
    except ValueError:
        outcomes.append(Tag.objects.filter(word="lost").exists())
    return outcomes


def locked():
    with transaction.atomic():
        return [
            list(articles.select_for_update().filter(pk__lte=3).values_list("pk", flat=True)),
            list(articles.select_for_update(skip_locked=True, of=("self",)).select_related("category").filter(pk__lte=3).values_list("pk", flat=True)),
            list(articles.select_for_update(no_key=True, nowait=True).filter(pk=3).values_list("pk", flat=True)),
        ]


def served():
    with transaction.atomic():
        return [article.pk for article in articles.order_by("pk").iterator(chunk_size=2)]


step("atomic", atomic)
step("select for update", locked)
step("iterator", served)
step("iterator outside of a transaction", lambda: len(list(articles.iterator(chunk_size=2))))
step("raw", lambda: [article.title for article in articles.raw("select * from shop_article order by id limit 2")])
step("cursor", lambda: rows("select %s::int + 1, %s::text, %s", [1, "x%", decimal.Decimal("1.5")]))
step("users", lambda: [User.objects.create_user("ann", password=None).pk, Group.objects.create(name="readers").pk, Permission.objects.count()])
step("permissions of a user", lambda: [User.objects.get(username="ann").user_permissions.set(Permission.objects.filter(codename__contains="article")), sorted(User.objects.get(username="ann").get_all_permissions())])
step("dumpdata", lambda: command("dumpdata", "shop.Tag", "shop.SmallKey"))
step("sqlsequencereset", lambda: command("sqlsequencereset", "shop"))
step("reset the sequences", lambda: [rows(line) if line.startswith("SELECT") else None for line in command("sqlsequencereset", "shop")])
step("unmigrate", lambda: command("migrate", "shop", "zero", verbosity=1))
step("tables left", lambda: [table for table in connection.introspection.table_names() if table.startswith("shop")])
