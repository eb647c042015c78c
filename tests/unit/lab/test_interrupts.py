"""Signals are noted while a lab is built, and answered when the work has ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from isthmus.lab.interrupts import ENDINGS, noted


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Whatever a test does, the handlers are as before: so it must leave them. Whoever runs us may ignore some."""
    outside = {n: signal.signal(n, signal.SIG_DFL) for n in ENDINGS if signal.getsignal(n) is signal.SIG_IGN}
    before = [signal.getsignal(n) for n in ENDINGS]
    yield
    assert [signal.getsignal(n) for n in ENDINGS] == before
    for number, handler in outside.items():
        signal.signal(number, handler)


def never() -> None:
    raise AssertionError("nobody asked it to stop")


def test_without_a_signal_it_is_as_if_the_work_were_called() -> None:
    with noted() as interrupts:
        assert interrupts.watch(lambda: 1, never) == 1
        with pytest.raises(ZeroDivisionError):
            interrupts.watch(lambda: 1 // 0, never)


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_stops_the_work_and_is_raised_when_it_has_ended(number: signal.Signals) -> None:
    asked = threading.Semaphore(0)
    ended = []

    def work() -> None:
        os.kill(os.getpid(), number)
        for _ in range(3):
            assert asked.acquire(timeout=10)
        ended.append(True)
        raise RuntimeError("stopped")

    with pytest.raises(KeyboardInterrupt), noted() as interrupts:
        try:
            interrupts.watch(work, asked.release)
        finally:
            assert ended
            os.kill(os.getpid(), number)  # an impatient second one does not stop the cleaning up
            ended.append(True)
    assert len(ended) == 2


def test_work_that_ends_well_all_the_same_was_interrupted() -> None:
    with noted() as interrupts, pytest.raises(KeyboardInterrupt):
        interrupts.watch(lambda: os.kill(os.getpid(), signal.SIGINT), lambda: None)


def test_what_comes_between_two_watches_ends_the_second() -> None:
    with noted() as outer:
        outer.watch(lambda: None, never)
        os.kill(os.getpid(), signal.SIGTERM)
        with noted() as inner, pytest.raises(KeyboardInterrupt):
            inner.watch(lambda: None, lambda: None)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted() as interrupts:
            assert interrupts.watch(lambda: os.kill(os.getpid(), signal.SIGHUP), never) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_it_leaves_signals_alone() -> None:
    found = []

    def other() -> None:
        with noted() as interrupts:
            found.append((interrupts.watch(lambda: 1, never), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [(1, signal.getsignal(signal.SIGINT))]
