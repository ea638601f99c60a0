"""What Django's runtests.py needs to know: two databases of the server under test, and where results go."""

import os

import psycopg
from django.db.backends.postgresql.features import DatabaseFeatures

SERVER = {"ENGINE": "django.db.backends.postgresql", "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
          "USER": os.environ["PGUSER"]}
DATABASES = {"default": {**SERVER, "NAME": "django"}, "other": {**SERVER, "NAME": "django2"}}
SECRET_KEY = "none"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_runner.DjangoRunner"

# On a server without ICU's collations, tables that want one have "C": without its tables no test of a module would run.
with psycopg.connect("dbname=postgres") as connection:
    KNOWN = {name for (name,) in connection.execute("SELECT collname FROM pg_collation")}
WANTED = DatabaseFeatures.test_collations
DatabaseFeatures.test_collations = {use: name if name in KNOWN else "C" for use, name in WANTED.items()}
