"""Lets SQLAlchemy's suite run on a server without citext and hstore: it makes both before its first test, whatever it tests.

A pytest plugin. What the server does not offer is left out; the tests that use it then fail by themselves.
"""

import psycopg
from sqlalchemy.dialects.postgresql import provision


def pytest_configure(config):
    with psycopg.connect("") as connection:
        offered = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
    provision._extensions = [entry for entry in provision._extensions if entry[0] in offered]
