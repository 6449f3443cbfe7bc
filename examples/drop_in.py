"""An ordinary program that knows nothing of distpool. Run the same file both ways:

    python examples/drop_in.py
    python -m distpool examples/drop_in.py

The results are the same; the first lines show whose pools computed them.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def count_primes(start: int) -> int:
    return sum(map(is_prime, range(start, start + 1000)))


def pool_module_of_child() -> None:
    with ProcessPoolExecutor(1) as executor:
        result = executor.submit(is_prime, 97).result()
        print(f"in a child, executor from {type(executor).__module__}: 97 is prime: {result}")


def main() -> None:
    with multiprocessing.Pool(2) as pool:
        print(f"pool from {type(pool).__module__}")
        print("primes per thousand:", pool.map(count_primes, range(0, 10_000, 1000)))

    with ProcessPoolExecutor(2) as executor:
        print(f"executor from {type(executor).__module__}")
        print("the same from 10,000 on:", list(executor.map(count_primes, range(10_000, 20_000, 1000))))

    child = multiprocessing.get_context("spawn").Process(target=pool_module_of_child)
    child.start()
    child.join()
    print("the child's exit code:", child.exitcode)


if __name__ == "__main__":
    main()
