"""What forked workers have of `__main__`, and that looking at it keeps nothing."""

import sys
import weakref

from distpool.runtime.main_view import view_of_main


class Large:
    pass


def test_it_has_what_main_had_then_and_keeps_nothing_of_it(monkeypatch):
    main = sys.modules["__main__"]

    def function():
        pass

    function.__qualname__ = "function"
    large = Large()
    monkeypatch.setattr(main, "function", function, raising=False)
    main.large = large
    monkeypatch.setattr(main, "number", 5, raising=False)
    view = view_of_main("fork")

    assert view.has(function)
    seen = weakref.ref(large)
    del large, main.large
    assert seen() is None

    def later():
        pass

    later.__qualname__ = "later"
    monkeypatch.setattr(main, "later", later, raising=False)
    assert not view.has(later)
    monkeypatch.setattr(main, "function", later)
    assert not view.has(function)
