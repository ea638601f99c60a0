"""SQLAlchemy: creates tables, reflects them, and maps rows to objects. One line a step; the same steps are run against
PostgreSQL."""

import datetime
import decimal
import enum
import json
import os
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

DATABASE = "alchemy"
ADDRESS = f"postgresql+psycopg://postgres@{os.environ['PGHOST']}:{os.environ['PGPORT']}"


def say(step, outcome):
    print(f"{step}: {json.dumps(outcome, default=str, ensure_ascii=False)}", flush=True)


def step(name, work):
    try:
        say(name, work())
    except DBAPIError as error:
        say(name, f"error {type(error).__name__} {getattr(error.orig, 'sqlstate', None)}")
    except SQLAlchemyError as error:
        say(name, f"error {type(error).__name__}: {error}")
    except Exception as error:
        say(name, f"error {type(error).__name__}: {error}")


admin = sa.create_engine(f"{ADDRESS}/postgres", isolation_level="AUTOCOMMIT")
with admin.connect() as connection:
    connection.execute(sa.text(f"drop database if exists {DATABASE}"))
    connection.execute(sa.text(f"create database {DATABASE} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"))

engine = sa.create_engine(f"{ADDRESS}/{DATABASE}")
metadata = sa.MetaData()


class Base(orm.DeclarativeBase):
    metadata = metadata


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("age > 0", name="age_positive"),
        sa.UniqueConstraint("name", "age", name="name_and_age"),
        sa.Index("users_lower_name", sa.func.lower(sa.literal_column("name"))),
        sa.Index("users_grown", "age", postgresql_where=sa.text("age >= 18")),
        sa.Index("users_covering", "name", postgresql_include=["age"]),
        sa.Index("users_descending", sa.text("age desc nulls last"), "name"),
        {"comment": "Who may log in"},
    )
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(start=10, increment=5), primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(30), comment="First name")
    age: orm.Mapped[int | None]
    level: orm.Mapped[Level] = orm.mapped_column(sa.Enum(Level, native_enum=False, length=10, create_constraint=True), server_default="LOW")
    made: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    addresses: orm.Mapped[list["Address"]] = orm.relationship(back_populates="user", cascade="all, delete-orphan", order_by="Address.id")
    groups: orm.Mapped[list["Group"]] = orm.relationship(secondary="memberships", back_populates="users", order_by="Group.name")


class Address(Base):
    __tablename__ = "addresses"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    mail: orm.Mapped[str] = orm.mapped_column(unique=True)
    user_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE", name="address_of"), index=True)
    user: orm.Mapped[User] = orm.relationship(back_populates="addresses")


class Group(Base):
    __tablename__ = "groups"
    name: orm.Mapped[str] = orm.mapped_column(sa.String(20), primary_key=True)
    users: orm.Mapped[list[User]] = orm.relationship(secondary="memberships", back_populates="groups")


sa.Table(
    "memberships", metadata,
    sa.Column("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("group_name", sa.ForeignKey("groups.name", onupdate="CASCADE"), primary_key=True),
)

sequence = sa.Sequence("numbers", start=100, increment=10, metadata=metadata)
TYPES = dict(
    small=(sa.SmallInteger, 5), whole=(sa.Integer, -6), big=(sa.BigInteger, 2**60), number=(sa.Numeric(20, 5), decimal.Decimal("1.50000")),
    exact=(sa.Numeric, decimal.Decimal("12345678901234567890.123")), real=(sa.REAL, 0.25), double=(sa.Double, 0.1), floating=(sa.Float(30), 2.5),
    yes=(sa.Boolean, True), text=(sa.Text, "ÄÖ"), string=(sa.String(10), "abc"), fixed=(sa.CHAR(5), "ab   "), unlimited=(sa.String, "x"),
    day=(sa.Date, datetime.date(2024, 2, 29)), time=(sa.Time, datetime.time(1, 2, 3, 4)), at=(sa.DateTime, datetime.datetime(2024, 2, 29, 1, 2, 3)),
    zoned=(sa.DateTime(timezone=True), datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc)), precise=(pg.TIMESTAMP(precision=3), datetime.datetime(2024, 2, 29, 1, 2, 3, 456000)),
    zoned_time=(pg.TIME(timezone=True), datetime.time(1, 2, tzinfo=datetime.timezone.utc)), lasting=(sa.Interval, datetime.timedelta(days=2, seconds=5)), interval=(pg.INTERVAL, datetime.timedelta(days=2)),
    bytes=(sa.LargeBinary, b"\x00\xff"), unique=(sa.Uuid, uuid.UUID(int=7)), json=(sa.JSON, {"a": [1, None]}), jsonb=(pg.JSONB, {"b": "x"}),
    words=(pg.ARRAY(sa.String(10)), ["a", "b c"]), grid=(pg.ARRAY(sa.Integer, dimensions=2), [[1, 2], [3, 4]]), address=(pg.INET, "192.0.2.1"),
    net=(pg.CIDR, "192.0.2.0/24"), mac=(pg.MACADDR, "08:00:2b:01:02:03"), oid=(pg.OID, 26),
)
types = sa.Table(
    "types", metadata, sa.Column("id", sa.Integer, sequence, primary_key=True),
    *[sa.Column(name, of) for name, (of, _) in TYPES.items()],
    sa.Column("defaulted", sa.Integer, server_default="7"), sa.Column("worded", sa.Text, server_default="it's"),
    sa.Column("computed", sa.Integer, sa.Computed("whole * 2", persisted=True)), sa.Column("always", sa.BigInteger, sa.Identity(always=True)),
)
pairs = sa.Table(
    "pairs", metadata, sa.Column("a", sa.Integer), sa.Column("b", sa.Integer), sa.Column("c", sa.Integer),
    sa.PrimaryKeyConstraint("b", "a", name="pairs_key"), schema="other",
)
sa.Table(
    "parts", metadata, sa.Column("x", sa.Integer, primary_key=True), sa.Column("y", sa.Integer),
    sa.ForeignKeyConstraint(["y", "x"], ["other.pairs.b", "other.pairs.a"], name="part_of", onupdate="SET NULL", deferrable=True, initially="IMMEDIATE"),
    sa.Column("parent", sa.ForeignKey("parts.x", ondelete="SET NULL")),
)


def ask(sql, **values):
    with engine.begin() as connection:
        result = connection.execute(sa.text(sql) if isinstance(sql, str) else sql, values)
        return [list(row) for row in result] if result.returns_rows else result.rowcount


# Creating and reflecting.
step("version", lambda: [engine.dialect.name, ask("select 1")])
step("make a schema", lambda: ask("create schema other"))
step("create all", lambda: metadata.create_all(engine))
step("create all again", lambda: metadata.create_all(engine))
step("a view", lambda: ask("create view grown as select name, age from users where age >= 18"))
inspector = sa.inspect(engine)
step("schemas", lambda: inspector.get_schema_names())
step("tables", lambda: [sorted(inspector.get_table_names()), inspector.get_table_names("other"), sorted(inspector.get_view_names()), sorted(inspector.get_sequence_names())])
step("definition of a view", lambda: inspector.get_view_definition("grown"))
step("has", lambda: [inspector.has_table("users"), inspector.has_table("nosuch"), inspector.has_table("grown"), inspector.has_sequence("numbers"), inspector.has_schema("other"), inspector.has_index("users", "users_grown")])
for table in ["users", "addresses", "groups", "memberships", "types", "parts", "grown"]:
    for column in sa.inspect(engine).get_columns(table):
        step(f"column {table}.{column['name']}", lambda: {key: repr(value) for key, value in sorted(column.items())})
    for method in ["get_pk_constraint", "get_foreign_keys", "get_indexes", "get_unique_constraints", "get_check_constraints", "get_table_comment"]:
        step(f"{method} of {table}", lambda: repr(getattr(inspector, method)(table)))
step("constraints of another schema", lambda: [repr(inspector.get_pk_constraint("pairs", schema="other")), repr(inspector.get_columns("pairs", schema="other"))])
step("get_multi_columns", lambda: sorted(str(name) for name in inspector.get_multi_columns()))


def reflected():
    found = sa.MetaData()
    found.reflect(engine, views=True)
    return {name: [f"{column.name} {column.type!r} {column.nullable} {column.server_default is not None}" for column in table.columns] for name, table in sorted(found.tables.items())}


def create_again():
    """What was reflected makes the same tables in another database."""
    found = sa.MetaData()
    found.reflect(engine)
    return [str(sa.schema.CreateTable(table).compile(engine)).split() for table in found.sorted_tables]


step("reflect", reflected)
step("reflected, as DDL", create_again)

# Rows of every type.
row = {name: value for name, (_, value) in TYPES.items()}
step("insert every type", lambda: ask(types.insert().values(**row).returning(types.c.id, types.c.defaulted, types.c.worded, types.c.computed, types.c.always)))
step("read every type", lambda: ask(types.select()))
for name, value in row.items():
    if name != "json":
        step(f"where {name}", lambda: ask(sa.select(types.c.id).where(types.c[name] == value)))
step("many rows", lambda: [len(ask(types.insert().returning(types.c.id), )), ask("select count(*) from types")])
with engine.begin() as connection:
    step("insertmanyvalues", lambda: [list(row) for row in connection.execute(types.insert().returning(types.c.id, types.c.whole, sort_by_parameter_order=True), [{"whole": number} for number in range(25)])])
step("computed cannot be written", lambda: ask("insert into types (id, computed) values (1, 2)"))
step("identity cannot be written", lambda: ask("insert into types (id, always) values (1, 2)"))
step("a sequence", lambda: ask(sa.select(sequence.next_value())))


# Objects.
def fill():
    with orm.Session(engine) as session:
        groups = [Group(name=name) for name in ("admins", "readers")]
        ann = User(name="Ann", age=30, level=Level.HIGH, addresses=[Address(mail="ann@a.example"), Address(mail="ann@b.example")], groups=groups)
        bob = User(name="Bob", age=17, groups=groups[1:])
        session.add_all([ann, bob, User(name="Cid", age=None)])
        session.flush()
        keys = [ann.id, bob.id, ann.level.name, bob.level.name, bob.made is not None]
        session.commit()
        return keys


def in_session(work):
    def run():
        with orm.Session(engine) as session:
            outcome = work(session)
            session.commit()
            return outcome
    return run


def users(session, *conditions):
    return session.scalars(sa.select(User).where(*conditions).order_by(User.id)).all()


def recursive():
    base = sa.select(sa.literal(1).label("n")).cte("r", recursive=True)
    return sa.select(base.union_all(sa.select(base.c.n + 1).where(base.c.n < 4)))


def lateral():
    last = sa.select(Address.mail).where(Address.user_id == User.id).order_by(Address.id.desc()).limit(1).lateral("last")
    return sa.select(User.name, last.c.mail).outerjoin(last, sa.true()).order_by(User.id)


def upsert():
    insert = pg.insert(pairs).values([{"a": 1, "b": 1, "c": 1}])
    insert = insert.on_conflict_do_update(constraint="pairs_key", set_={"c": insert.excluded.c + 1}, where=pairs.c.c > 0)
    return insert.returning(pairs.c.c)


def change(session):
    user = session.get(User, 15)
    user.age = 40
    user.groups.clear()
    user.addresses.append(Address(mail="new@c.example"))
    session.flush()
    return [user.age, session.scalar(sa.select(sa.func.count()).select_from(Address))]


step("fill", fill)
step("get", in_session(lambda session: [session.get(User, 10).name, session.get(User, 11)]))
step("lazy loading", in_session(lambda session: [(user.name, [address.mail for address in user.addresses], [group.name for group in user.groups]) for user in users(session)]))
for option in [orm.joinedload, orm.selectinload, orm.subqueryload]:
    step(option.__name__, in_session(lambda session: [(user.name, len(user.addresses)) for user in session.scalars(sa.select(User).options(option(User.addresses)).order_by(User.id)).unique()]))
step("join", in_session(lambda session: [list(row) for row in session.execute(sa.select(User.name, Address.mail).join(User.addresses).order_by(Address.mail))]))
step("outer join", in_session(lambda session: [list(row) for row in session.execute(sa.select(User.name, sa.func.count(Address.id)).outerjoin(User.addresses).group_by(User.id).order_by(User.name))]))
step("any", in_session(lambda session: [user.name for user in users(session, User.addresses.any(Address.mail.like("%b.example")))]))
step("contains", in_session(lambda session: [user.name for user in users(session, User.groups.any(Group.name == "readers"), ~User.addresses.any())]))
step("in", in_session(lambda session: [user.name for user in users(session, User.name.in_(["Ann", "Cid"]), User.age.is_not(None))]))
step("empty in", in_session(lambda session: [user.name for user in users(session, User.name.in_([]))]))
step("case-insensitive", in_session(lambda session: [user.name for user in users(session, User.name.ilike("a%") | User.name.icontains("O") | User.name.regexp_match("^C"))]))
step("enum", in_session(lambda session: [user.name for user in users(session, User.level == Level.HIGH)]))
step("cte", in_session(lambda session: [list(row) for row in session.execute(sa.select(sa.select(User.name, User.age).where(User.age > 1).cte("c")).order_by(sa.text("1")))]))
step("recursive", in_session(lambda session: [list(row) for row in session.execute(recursive())]))
step("window", in_session(lambda session: [list(row) for row in session.execute(sa.select(User.name, sa.func.row_number().over(order_by=User.age.desc().nulls_last()), sa.func.sum(User.age).over(order_by=User.id, rows=(None, 0))).order_by(User.id))]))
step("lateral", in_session(lambda session: [list(row) for row in session.execute(lateral())]))
step("scalar subquery", in_session(lambda session: [list(row) for row in session.execute(sa.select(User.name, sa.select(sa.func.max(Address.mail)).where(Address.user_id == User.id).scalar_subquery()).order_by(User.id))]))
step("values", in_session(lambda session: [list(row) for row in session.execute(sa.select(sa.values(sa.column("a", sa.Integer), sa.column("b", sa.String), name="v").data([(1, "x"), (2, "y")])))]))
step("union", in_session(lambda session: [list(row) for row in session.execute(sa.union(sa.select(User.name), sa.select(Group.name)).order_by("name"))]))
step("filtered aggregates", in_session(lambda session: [list(row) for row in session.execute(sa.select(sa.func.count().filter(User.age > 20), pg.array_agg(pg.aggregate_order_by(User.name, User.name.desc())), sa.func.string_agg(User.name, pg.aggregate_order_by(sa.literal_column("','"), User.name))).select_from(User))]))
step("json paths", lambda: ask(sa.select(types.c.json["a"][0].as_integer(), types.c.jsonb["b"].as_string(), types.c.jsonb.has_key("b"), types.c.jsonb.contains({"b": "x"})).where(types.c.jsonb.is_not(None))))
step("arrays", lambda: ask(sa.select(types.c.words[1], types.c.words.any("a"), types.c.words.contains(["a"]), types.c.words.overlap(["z"]), types.c.grid[1][2]).where(types.c.words.is_not(None))))
step("extract", lambda: ask(sa.select(sa.extract("year", types.c.day), sa.extract("epoch", types.c.lasting), sa.func.date_trunc("month", types.c.at)).where(types.c.day.is_not(None))))
step("casts", lambda: ask(sa.select(sa.cast(types.c.whole, sa.String), sa.type_coerce(types.c.number, sa.Numeric), sa.cast("5", sa.Integer), sa.literal(True), sa.null()).where(types.c.day.is_not(None))))
step("division", lambda: ask(sa.select(types.c.whole / 4, types.c.whole // 4, types.c.number / 2).where(types.c.day.is_not(None))))
step("upsert", lambda: ask(pg.insert(Group).values([{"name": "admins"}, {"name": "new"}]).on_conflict_do_nothing().returning(Group.name)))
step("upsert that updates", lambda: ask(upsert()))
step("update with returning", in_session(lambda session: [list(row) for row in session.execute(sa.update(User).where(User.age.is_not(None)).values(age=User.age + 1).returning(User.name, User.age))]))
step("update from", lambda: ask(sa.update(User).values(name=User.name + Address.mail).where(User.id == Address.user_id, Address.mail.like("%a.example"))))
step("delete using", lambda: ask(sa.delete(Address).where(Address.user_id == User.id, User.age > 100)))
step("change of an object", in_session(lambda session: change(session)))
step("foreign key cascade", in_session(lambda session: [session.execute(sa.update(Group).where(Group.name == "admins").values(name="owners")).rowcount, ask("select group_name from memberships order by 1")]))
step("unique violation", in_session(lambda session: [session.add_all([Address(mail="x", user_id=10), Address(mail="x", user_id=10)]), session.flush()]))
step("check violation", lambda: ask("update users set age = -1"))
step("check of the enum", lambda: ask("update users set level = 'NONE'"))
step("not null violation", lambda: ask("update users set name = null"))
step("foreign key violation", lambda: ask("insert into addresses (mail, user_id) values ('y', 999)"))


def nested(session):
    outcomes = []
    session.add(Group(name="outer"))
    try:
        with session.begin_nested():
            session.add(Group(name="outer"))
            session.flush()
    except DBAPIError as error:
        outcomes.append(error.orig.sqlstate)
    outcomes.append(sorted(session.scalars(sa.select(Group.name))))
    return outcomes


def isolation(level):
    with engine.connect().execution_options(isolation_level=level) as connection:
        return [connection.get_isolation_level(), connection.scalar(sa.text("show transaction_isolation"))]


def streamed():
    with engine.connect() as connection:
        result = connection.execution_options(yield_per=7).execute(sa.text("select g from generate_series(1, 20) g"))
        return [len(part) for part in result.partitions()]


step("upsert again", lambda: ask(upsert()))
step("savepoint", in_session(nested))
step("rows changed by others", in_session(lambda session: [session.get(User, 10, with_for_update=True).name, session.scalar(sa.select(User.age).where(User.id == 15).with_for_update(skip_locked=True))]))
for level in ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"]:
    step(f"isolation {level}", lambda: isolation(level))
step("streamed", streamed)
step("alter", lambda: [ask("alter table users add column extra text default 'e'"), ask("alter table addresses alter column mail type varchar(99)"), ask("select extra, age from users order by id"), repr(sa.inspect(engine).get_columns("addresses")[1]["type"])])
step("drop all", lambda: [ask("drop view grown"), metadata.drop_all(engine), sa.inspect(engine).get_table_names()])
