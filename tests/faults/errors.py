"""Calls that raise awkward exceptions, or do so at one item only."""

from . import deeds


class KeywordOnly(Exception):
    def __init__(self, message, *, code):
        super().__init__(message)
        self.code = code


def raise_with_keyword_only_arguments(*_):
    raise KeywordOnly("no licence", code=7)


def raise_with_notes(*_):
    error = ValueError("noted")
    error.add_note("first note")
    error.add_note("second note")
    raise error


def raise_while_handling(*_):
    try:
        raise KeyError("inner")
    except KeyError:
        raise RuntimeError("outer")  # noqa: B904  the context is what is tested


def raise_a_group_of_awkward_ones(*_):
    raise ExceptionGroup("several", [deeds.NeedsArguments("one", 1), ExceptionGroup("inner", [ValueError(2)])])


def raise_a_local_class(*_):
    class Local(Exception):
        pass

    raise Local("no licence")


def raise_huge_text(size):
    raise ValueError("x" * size)


def raise_huge_chain(size):
    error = ValueError("first")
    for number in range(100):
        try:
            raise error
        except ValueError as caught:
            error = ValueError(f"{number}" + "x" * (size // 100))
            error.__cause__ = caught
    raise error


def stop_iterating(*_):
    raise StopIteration("value")


def leave_a_generator(*_):
    raise GeneratorExit


class OnlyAt:
    """Does the deed at one item, and returns the others."""

    def __init__(self, item, deed):
        self.item = item
        self.deed = deed

    def __call__(self, item):
        return self.deed() if item == self.item else item


class OnlyReturns:
    """Returns at one item what cannot be unpickled."""

    def __init__(self, item):
        self.item = item

    def __call__(self, item):
        return deeds.WhileUnpickled(deeds.refuse) if item == self.item else item
