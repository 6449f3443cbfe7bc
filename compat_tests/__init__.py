"""CPython's own test suites, unchanged, run on distpool: `python -m compat_tests`.

The suites come from the `test` package of the interpreter that runs this; none of their files is part of the project.
"""
