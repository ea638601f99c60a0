"""Reflects one table with SQLAlchemy for each line of its input, and prints how many milliseconds it took."""

import os
import sys
import time

import sqlalchemy as sa

ADDRESS = f"postgresql+psycopg://postgres@{os.environ['PGHOST']}:{os.environ['PGPORT']}/postgres"

engine = sa.create_engine(ADDRESS, isolation_level="AUTOCOMMIT")
with engine.connect() as connection:
    for line in sys.stdin:
        began = time.perf_counter()
        table = sa.Table(line.strip(), sa.MetaData(), autoload_with=connection)
        took = (time.perf_counter() - began) * 1000
        assert len(table.columns) > 0
        print(f"{took:.3f}", flush=True)
