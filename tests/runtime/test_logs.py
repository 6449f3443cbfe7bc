"""Log records of workers are handled by the driver's handlers, with the driver's levels."""

import io
import logging
import threading

import pytest

import distpool

from .calls import LIMIT_S
from .programs import output_of

METHODS = ["fork", "forkserver", "spawn"]
NAME = "tests.workers"


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def messages(self):
        return [record.getMessage() for record in self.records]


@pytest.fixture
def records():
    """What a handler of the root logger gets at level INFO of the logger that the tests use."""
    handler, root, logger = Records(), logging.getLogger(), logging.getLogger(NAME)
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def pool(records):
    with distpool.get_context("fork").Pool(1) as pool:
        yield pool
    pool.join()


def log(message, *arguments, level=logging.INFO, name=NAME, **options):
    logging.getLogger(name).log(level, message, *arguments, **options)


def log_error():
    try:
        raise KeyError("in the worker")
    except KeyError:
        logging.getLogger(NAME).exception("it failed")


class CannotPickle:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return f"<CannotPickle {self.text}>"

    def __reduce__(self):
        raise TypeError("no")


class CannotUnpickle:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ValueError("refused while unpickling")


@pytest.mark.parametrize("method", METHODS)
def test_a_record_reaches_the_drivers_handlers_before_its_calls_result(records, method):
    with distpool.get_context(method).Pool(1) as pool:
        for number in range(20):
            pool.apply(log, ("number %d", number))
            assert records.messages()[-1] == f"number {number}"
        (worker,) = pool._pool
        last = records.records[-1]
        assert (last.process, last.processName, last.name, last.levelname) == (worker.pid, worker.name, NAME, "INFO")
        assert last.funcName == "log"
        assert len(records.records) == 20, "each is handled once"
    pool.join()


def test_the_drivers_levels_decide_what_a_worker_logs(records):
    logging.getLogger(NAME + ".quiet").setLevel(logging.ERROR)
    logging.getLogger(NAME + ".loud").setLevel(logging.DEBUG)
    for method in METHODS:
        with distpool.get_context(method).Pool(1) as pool:
            for name in (NAME, NAME + ".quiet", NAME + ".loud", NAME + ".loud.below"):
                for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                    pool.apply(log, (name.removeprefix(NAME),), {"level": level, "name": name})
        pool.join()
        found = [(record.levelname, record.getMessage()) for record in records.records]
        assert found == [
            ("INFO", ""),
            ("ERROR", ""),
            ("ERROR", ".quiet"),
            *((level, name) for name in (".loud", ".loud.below") for level in ("DEBUG", "INFO", "ERROR")),
        ]
        records.records.clear()
    for name in (".quiet", ".loud"):
        logging.getLogger(NAME + name).setLevel(logging.NOTSET)


def test_a_level_that_the_driver_raises_later_holds_too(records, pool):
    pool.apply(log, ("before",))
    logging.getLogger(NAME).setLevel(logging.ERROR)
    pool.apply(log, ("after",))
    assert records.messages() == ["before"]


def test_the_root_loggers_records(records, pool):
    pool.apply(log, ("at the root",), {"name": None, "level": logging.ERROR})
    assert records.messages() == ["at the root"]
    assert records.records[0].name == "root"


@pytest.mark.parametrize("method", METHODS)
def test_a_librarys_null_handler_does_not_swallow_its_records(records, method):
    """Libraries give their loggers a NullHandler, as the documentation of `logging` tells them to."""
    library = logging.getLogger(NAME + ".library")
    null = logging.NullHandler()
    library.addHandler(null)
    try:
        with distpool.get_context(method).Pool(1, add_null_handler) as pool:
            pool.apply(log, ("of a library",), {"name": library.name})
        pool.join()
    finally:
        library.removeHandler(null)
    assert records.messages() == ["of a library"]


def add_null_handler():
    logging.getLogger(NAME + ".library").addHandler(logging.NullHandler())


def test_a_logger_that_does_not_propagate_uses_its_own_handlers(records, pool):
    logger, own = logging.getLogger(NAME + ".apart"), Records()
    logger.addHandler(own)
    logger.propagate = False
    try:
        pool.apply(log, ("apart",), {"name": logger.name, "level": logging.ERROR})
    finally:
        logger.removeHandler(own)
        logger.propagate = True
    assert (own.messages(), records.messages()) == (["apart"], [])


def test_the_traceback_of_a_logged_error_arrives_as_text(records, pool):
    pool.apply(log_error)
    text = logging.Formatter("%(message)s").format(records.records[0])
    assert text.startswith("it failed\nTraceback (most recent call last):\n")
    assert text.endswith("KeyError: 'in the worker'")
    assert "in log_error" in text


def test_arguments_and_extras_arrive_as_far_as_they_can_be_pickled(records, pool):
    log_it = lambda: log("%s and %s", 1, CannotPickle("argument"), extra={"job": 7, "owner": CannotPickle("extra")})  # noqa: E731
    pool.apply(log_it)
    (record,) = records.records
    assert record.getMessage() == "1 and <CannotPickle argument>"
    assert (record.job, record.owner) == (7, "<CannotPickle extra>")


def test_an_extra_that_cannot_be_unpickled_harms_neither_the_record_nor_the_call(records, pool, capsys):
    assert pool.apply_async(lambda: log("text", extra={"job": CannotUnpickle(), "number": 7})).get(LIMIT_S) is None
    assert pool.apply(abs, (-3,)) == 3
    (record,) = records.records
    assert (record.getMessage(), record.number) == ("text", 7)
    assert "CannotUnpickle object" in record.job
    assert capsys.readouterr().err == ""


def test_a_message_that_cannot_be_formatted_is_told_of_in_the_usual_way(records, pool, capsys):
    pool.apply(log, ("%d items", "many"))
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_handler_of_the_driver_that_fails_loses_no_result(records, pool, capsys):
    class Failing(logging.Handler):
        def emit(self, record):
            raise OSError("disk full")

    failing = Failing()
    logging.getLogger().addHandler(failing)
    try:
        assert pool.apply_async(log, ("text",)).get(LIMIT_S) is None
    finally:
        logging.getLogger().removeHandler(failing)
    assert "disk full" in capsys.readouterr().err
    assert pool.apply(abs, (-3,)) == 3


def test_long_records_and_records_of_threads_arrive(records, pool):
    def log_from_threads():
        threads = [threading.Thread(target=log, args=("x" * 200_000,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return bytes(100_000)

    assert len(pool.apply_async(log_from_threads).get(LIMIT_S)) == 100_000
    assert [len(message) for message in records.messages()] == [200_000] * 4


def test_many_records_between_large_results(records, pool):
    def log_and_return(number):
        for _ in range(50):
            log("number %d", number)
        return bytes(50_000)

    assert len(pool.map(log_and_return, range(20), 1)) == 20
    assert records.messages() == [f"number {number}" for number in range(20) for _ in range(50)]


def test_records_of_the_initializer_arrive(records):
    with distpool.get_context("fork").Pool(1, log, ("starting",)) as pool:
        pool.apply(log, ("working",))
    pool.join()
    assert records.messages() == ["starting", "working"]


def test_a_record_is_there_before_the_death_of_its_worker_is_told(records, pool):
    def log_and_die():
        log("last words")
        import os

        os._exit(1)

    with pytest.raises(distpool.WorkerDied):
        pool.apply(log_and_die)
    assert records.messages() == ["last words"]


# ---- handlers of the worker's own


def configure(path):
    logging.basicConfig(filename=path, level=logging.INFO, format="own: %(message)s")


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_configures_handlers_keeps_them_and_nothing_is_handled_twice(records, tmp_path, method):
    path = tmp_path / "log"
    with distpool.get_context(method).Pool(1, configure, (str(path),)) as pool:
        pool.apply(log, ("hello",))
        pool.apply(log, ("of a library",), {"name": NAME + ".library"})
    pool.join()
    assert path.read_text().splitlines() == ["own: hello", "own: of a library"]
    assert records.messages() == []


def test_a_worker_that_configures_its_output_is_seen_on_the_drivers_streams(records, capsys):
    def configure_output():
        logging.basicConfig(format="own: %(message)s")

    with distpool.get_context("fork").Pool(1, configure_output) as pool:
        pool.apply(log, ("hello",))
    pool.join()
    assert capsys.readouterr().err == "own: hello\n"
    assert records.messages() == []


def test_a_handler_for_one_logger_leaves_the_others_to_the_driver(records, tmp_path):
    path = str(tmp_path / "log")

    def configure_one():
        logging.getLogger(NAME + ".own").addHandler(logging.FileHandler(path))

    with distpool.get_context("fork").Pool(1, configure_one) as pool:
        pool.apply(log, ("to the file",), {"name": NAME + ".own"})
        pool.apply(log, ("to the driver",), {"name": NAME + ".other"})
    pool.join()
    assert (tmp_path / "log").read_text() == "to the file\n"
    assert records.messages() == ["to the driver"]


# ---- drivers as programs

DRIVER = """
    import logging, sys
    import distpool

    logger = logging.getLogger("job")

    def work(number):
        logger.info("number %d", number)
        logger.debug("not seen")

    if __name__ == "__main__":
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pool.map(work, range(3), 1)
        print("done")
"""


@pytest.mark.parametrize("method", METHODS)
def test_basic_config_in_the_driver_is_enough(tmp_path, method):
    *lines, last = output_of(tmp_path, DRIVER, method).splitlines()
    assert sorted(lines) == [f"INFO job number {number}" for number in range(3)]
    assert last == "done"


UNCONFIGURED = """
    import logging, sys
    import distpool

    def work(number):
        logging.getLogger("job").info("not seen")
        logging.getLogger("job").warning("number %d", number)

    if __name__ == "__main__":
        sys.stderr = sys.stdout
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pool.map(work, range(3), 1)
        print("done")
"""


@pytest.mark.parametrize("method", METHODS)
def test_without_any_configuration_warnings_are_seen_once(tmp_path, method):
    *lines, last = output_of(tmp_path, UNCONFIGURED, method).splitlines()
    assert sorted(lines) == [f"number {number}" for number in range(3)]
    assert last == "done"


def test_a_child_of_a_worker_logs_by_itself(records, pool, capsys):
    def log_in_a_child():
        import os

        pid = os.fork()
        if pid == 0:
            log("from a child", level=logging.WARNING)
            os._exit(0)
        os.waitpid(pid, 0)

    pool.apply(log_in_a_child)
    assert capsys.readouterr().err == "from a child\n"
    assert records.messages() == []


def test_a_handler_may_use_the_pool_itself(records, pool):
    """The driver's handlers run while every part of the runtime is at rest."""
    results = []

    class Asking(logging.Handler):
        def emit(self, record):
            results.append(pool.apply_async(abs, (-7,)).get(LIMIT_S))

    asking = Asking()
    logging.getLogger().addHandler(asking)
    try:
        pool.apply(log, ("text",))
    finally:
        logging.getLogger().removeHandler(asking)
    assert results == [7]


def test_the_stream_of_a_handler_gets_whole_records(records):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        with distpool.get_context("fork").Pool(3) as pool:
            pool.map(log, [letter * 5000 for letter in "abc"] * 20, 1)
        pool.join()
    finally:
        logging.getLogger().removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 60
    assert {(len(line), len(set(line))) for line in lines} == {(5000, 1)}
