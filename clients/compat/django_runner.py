"""Django's test runner, with each test's outcome written by `results`."""

import unittest

from django.test.runner import DiscoverRunner

from results import write


class DjangoResult(unittest.TextTestResult):
    def addSuccess(self, test):
        super().addSuccess(test)
        write("passed", test.id())

    def addError(self, test, err):
        super().addError(test, err)
        write("failed", test.id(), said(err))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        write("failed", test.id(), said(err))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        write("skipped", test.id(), reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        write("skipped", test.id(), "expected to fail by Django")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        write("failed", test.id(), "passes where Django expects it to fail")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            write("failed", test.id(), said(err))


def said(err):
    """The error, and the server's error that it comes from."""
    error = err[1]
    cause = error.__cause__ or error.__context__
    text = f"{type(error).__name__}: {error}"
    return f"{text} <- {type(cause).__name__}: {cause}" if cause else text


class DjangoRunner(DiscoverRunner):
    def get_resultclass(self):
        return DjangoResult
