"""A process that was forked from the driver cannot use its pools, and does no harm when it ends."""

import pytest

from .programs import output_of

FORK = """
    import os, sys, threading
    import distpool, distpool.futures
    from distpool.errors import ForeignProcess

    def refused(call):
        try:
            call()
        except ForeignProcess as error:
            return str(os.getpid()) in str(error)
        except BaseException as error:
            return repr(error)
        return "not refused"

    def in_a_child(function):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            function()
            sys.exit(0)  # the ordinary end, with everything that runs at exit
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def wait(seconds):
        threading.Event().wait(seconds)
        return seconds

    if __name__ == "__main__":
        context = distpool.get_context("fork")
        BODY
"""

BODIES = {
    "a pool": (
        """
        with context.Pool(2) as pool:
            assert pool.map(abs, range(4)) == [0, 1, 2, 3]
            pending = pool.apply_async(wait, [0.2])
            def child():
                print(refused(lambda: pool.apply(abs, [-1])))
                print(refused(lambda: pool.map(abs, [-1, -2])))
                print(refused(lambda: pool.apply_async(abs, [-1])))
                print(refused(lambda: next(pool.imap_unordered(abs, [-1, -2]))))
                print(refused(lambda: pending.get(1)))
            print(in_a_child(child))
            print(pending.get(20), pool.map(abs, range(4)))
        """,
        ["True"] * 5 + ["0", "0.2 [0, 1, 2, 3]"],
    ),
    "an executor": (
        """
        with distpool.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
            assert executor.submit(abs, -3).result(20) == 3
            pending = executor.submit(wait, 0.2)
            def child():
                print(refused(lambda: executor.submit(abs, -1)))
                print(refused(lambda: pending.result(1)))
            print(in_a_child(child))
            print(pending.result(20), executor.submit(abs, -4).result(20))
        """,
        ["True", "True", "0", "0.2 4"],
    ),
    "ending the pool": (
        """
        with context.Pool(2) as pool:
            assert pool.map(abs, range(4)) == [0, 1, 2, 3]
            def child():
                pool.terminate()
                pool.__exit__(None, None, None)
            print(in_a_child(child))
            print(pool.map(abs, range(4)))
        """,
        ["0", "[0, 1, 2, 3]"],
    ),
    "a pool of its own": (
        """
        with context.Pool(2) as pool:
            assert pool.map(abs, range(4)) == [0, 1, 2, 3]
            def child():
                with context.Pool(2) as own:
                    print(own.map(abs, range(-3, 0)))
                print(refused(lambda: pool.apply(abs, [-1])))
            print(in_a_child(child))
            print(pool.map(abs, range(4)))
        """,
        ["[3, 2, 1]", "True", "0", "[0, 1, 2, 3]"],
    ),
    "nothing": (
        """
        pool = context.Pool(2)
        pool.map(abs, range(4))
        print(in_a_child(lambda: None), in_a_child(lambda: None))
        print(pool.map(abs, range(4)))
        pool.close()
        pool.join()
        """,
        ["0 0", "[0, 1, 2, 3]"],
    ),
    "a child that outlives the pool": (
        """
        pool = context.Pool(2)
        pool.map(abs, range(4))
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            sys.exit(0)
        os.close(read_end)
        pool.close()
        pool.join()  # what the child has inherited must not keep the workers alive
        os.close(write_end)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        ["0"],
    ),
    "a fork from a worker": (
        """
        with context.Pool(1) as pool:
            print(pool.apply_async(in_a_child, [int]).get(20), pool.apply_async(abs, [-2]).get(20))
        """,
        ["0 2"],
    ),
    "a standard process": (
        """
        import multiprocessing
        with context.Pool(2) as pool:
            assert pool.map(abs, range(4)) == [0, 1, 2, 3]
            def child():
                print(refused(lambda: pool.apply(abs, [-1])), flush=True)
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join(20)
            print(process.exitcode)
            print(pool.map(abs, range(4)))
        """,
        ["True", "0", "[0, 1, 2, 3]"],
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_in_a_forked_child(tmp_path, case):
    body, expected = BODIES[case]
    program = FORK.replace("        BODY\n", body)
    assert output_of(tmp_path, program).splitlines() == expected
