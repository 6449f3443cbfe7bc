"""The table of the tests that do not run on nodes names tests that are there."""

import importlib

from .on_nodes import EXCLUDED, MODULES


def test_each_test_that_is_excluded_is_there():
    for name in EXCLUDED:
        module, _, test = name.partition(".")
        assert module in MODULES, name
        assert callable(getattr(importlib.import_module(f"{__package__}.{module}"), test, None)), name
