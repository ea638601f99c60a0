"""Writes what each test of a client's own suite gave, one line a test, for `cargo xtask compat`.

A line is `outcome<TAB>test<TAB>why`, with the outcome `passed`, `failed` or `skipped`; it goes to the file that
QUORATE_RESULTS names, and is written at once, so that a run that is ended keeps what it had. A test that is reported twice
(its call and its teardown, or its subtests) counts by its worst line.

A pytest plugin: `pytest -p results`; `django_runner` does the same for Django's runtests.py.
"""

import os

FILE = open(os.environ["QUORATE_RESULTS"], "a", buffering=1, encoding="utf-8")
WHY_LENGTH = 400


def write(outcome, test, why=""):
    why = " ".join(str(why).split())[:WHY_LENGTH]
    test = " ".join(test.split())
    FILE.write(f"{outcome}\t{test}\t{why}\n")


def pytest_collection_finish(session):
    FILE.write(f"collected\t{len(session.items)}\t\n")


def pytest_collectreport(report):
    if report.failed:
        write("failed", report.nodeid, crash(report))


def pytest_runtest_logreport(report):
    if report.skipped:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        write("skipped", report.nodeid, why)
    elif report.failed:
        write("failed", report.nodeid, crash(report))
    elif report.when == "call":
        write("passed", report.nodeid)


def crash(report):
    """The error's own line where pytest knows it, or else the end of what it would print."""
    place = getattr(report.longrepr, "reprcrash", None)
    return place.message if place else str(report.longrepr)[-WHY_LENGTH:]
