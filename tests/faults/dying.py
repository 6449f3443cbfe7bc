"""Calls that die at a chosen moment: before a message, after a delay, at an item."""

import os
import signal
import socket
import threading
import time


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(20)


def die_before_send(sends):
    """This worker dies right before it sends its message number `sends` from now on."""
    left = sends

    def dying(send):
        def wrapper(*args):
            nonlocal left
            if left == 0:
                kill_oneself()
            left -= 1
            return send(*args)

        return wrapper

    for name in ("send", "sendmsg"):
        setattr(socket.socket, name, dying(getattr(socket.socket, name)))


def content(number, size):
    return bytes([number]) * size


def large(ledger, number, size):
    ledger.write(f"large {number}")
    return content(number, size)


def large_and_die_soon(ledger, number, size, delay_s):
    """Returns, and about then its worker is killed."""
    ledger.write(f"large {number}")
    threading.Thread(target=die_after, args=(delay_s,), daemon=True).start()
    return content(number, size)


def die_after(delay_s):
    time.sleep(delay_s)
    os.kill(os.getpid(), signal.SIGKILL)


class DiesAt:
    """Returns its item, and dies at some of them."""

    def __init__(self, ledger, *culprits):
        self.ledger = ledger
        self.culprits = culprits

    def __call__(self, item):
        self.ledger.write(f"item {item}")
        if item in self.culprits:
            kill_oneself()
        return item


class DiesTheFirstTimes:
    """Dies at `culprit` until the ledger shows that it has died there so many times."""

    def __init__(self, ledger, culprit, times):
        self.ledger = ledger
        self.culprit = culprit
        self.times = times

    def __call__(self, item):
        self.ledger.write(f"item {item}")
        if item == self.culprit and self.ledger.counts()[f"item {item}"] <= self.times:
            kill_oneself()
        return item


def say_and_die(words, how):
    """Write to the error stream as a C library does, and die."""
    os.write(2, f"{words}\n".encode())
    if how == "exit":
        os._exit(9)
    kill_oneself()


def write_pid_and_die(ledger, words):
    ledger.write(os.getpid())
    say_and_die(words, "kill")


def need_memory_and_die(size):
    held = b"\1" * size
    kill_oneself()
    return held


def write_and_raise(ledger):
    ledger.write("raises")
    raise ValueError("no licence")
