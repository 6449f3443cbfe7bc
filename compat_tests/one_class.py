"""Run the tests of one class in this process, and write down what becomes of each; or list the classes of a module.

    python -m compat_tests.one_class list MODULE
    python -m compat_tests.one_class run MODULE CLASS RECORD LIMIT TEST...

RECORD is the file that gets one JSON object a line: `{"began": test}`, `{"ended": test, "outcome": …, "detail": …}`,
`{"problem": text}` for what belongs to no single test, and `{"finished": true}`. A test that takes longer than LIMIT
seconds ends the process, with the tracebacks of all its threads on standard error. What is left behind, and what a
process that ended early means, is left to the parent.
"""

import faulthandler
import json
import sys
import unittest
from importlib import import_module
from typing import Any, TextIO


def main(arguments: list[str]) -> None:
    match arguments:
        case ["list", module_name]:
            print(json.dumps(test_names_by_class(load(module_name))))
        case ["run", module_name, class_name, record_path, limit, *test_names]:
            with open(record_path, "a", encoding="utf-8") as record:
                run(load(module_name), class_name, test_names, Recorder(record, float(limit)))
        case _:
            sys.exit(__doc__)


def load(module_name: str) -> Any:
    from test.support import script_helper

    # The tests' own interpreters must see PYTHONPATH, through which the redirection reaches them: without this they
    # run with -I or -E. The helpers have this very switch, for interpreters that cannot start without the environment.
    vars(script_helper)["__cached_interp_requires_environment"] = True
    return import_module(module_name)


def test_names_by_class(module: Any) -> dict[str, list[str]]:
    loader = unittest.defaultTestLoader
    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, unittest.TestCase)]
    found = {kind.__name__: list(loader.getTestCaseNames(kind)) for kind in classes}
    return {name: tests for name, tests in found.items() if tests}


def run(module: Any, class_name: str, test_names: list[str], recorder: "Recorder") -> None:
    from test import support

    kind = getattr(module, class_name)
    # A suite of suites runs the fixtures of the module and the class too.
    unittest.TestSuite([unittest.TestSuite([kind(name) for name in test_names])]).run(recorder)
    faulthandler.cancel_dump_traceback_later()
    if support.environment_altered:
        recorder.note(problem="the tests left threads or processes dangling")
    recorder.note(finished=True)


class Recorder(unittest.TestResult):
    """Writes each event down at once, so that it outlives the process."""

    def __init__(self, record: TextIO, limit_s: float) -> None:
        super().__init__()
        self._record = record
        self._limit_s = limit_s
        self._outcome = ""
        self._detail = ""

    def note(self, **event: Any) -> None:
        self._record.write(json.dumps(event) + "\n")
        self._record.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._outcome, self._detail = "passed", ""
        self.note(began=test._testMethodName)
        # With a copy of standard error: some tests put another stream there.
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=sys.__stderr__)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.note(ended=test._testMethodName, outcome=self._outcome, detail=self._detail)
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=sys.__stderr__)

    def addError(self, test: Any, err: Any) -> None:
        text = self._exc_info_to_string(err, test)  # type: ignore[attr-defined]
        if isinstance(test, unittest.TestCase):
            self._fail(text)
        else:
            self.note(problem=f"{test.id()}: {text}")

    def addFailure(self, test: Any, err: Any) -> None:
        self.addError(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._fail(f"{subtest._subDescription()}: " + self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._fail("passed, and was expected to fail")

    def addSkip(self, test: Any, reason: str) -> None:
        if isinstance(test, unittest.TestCase):
            if self._outcome != "failed":
                self._outcome, self._detail = "skipped", reason
        else:
            self.note(all_skipped=reason)

    def _fail(self, text: str) -> None:
        self._outcome = "failed"
        self._detail += text


if __name__ == "__main__":
    main(sys.argv[1:])
