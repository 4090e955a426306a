"""How far a build is: never back, from any thread, and stopped without an exception in TensorRT's code."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgebird.runtimes.trt.progress import Phases, interruptible


def test_progress_may_come_from_several_threads() -> None:
    """TensorRT says that its monitor is called from any of its threads."""
    inside, together = threading.Lock(), []

    def tell(_phase: str, _share: float) -> None:
        if not inside.acquire(blocking=False):
            together.append(1)
            return
        time.sleep(0.001)
        inside.release()

    phases = Phases(tell)

    def work(name: str) -> None:
        for step in range(10):
            phases.start(name, 10)
            phases.step(name, step)
            phases.finish(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert together == []


def test_progress_goes_from_nothing_to_all_and_never_back() -> None:
    told: list[tuple[str, float]] = []
    phases = Phases(lambda phase, share: told.append((phase, share)))
    phases.start("build", 2)
    phases.start("inner", 4)
    for step in range(4):
        assert phases.step("inner", step)
    phases.finish("inner")
    phases.step("build", 0)
    phases.start("unknown number of steps", 0)
    phases.step("never began", 3)
    phases.finish("build")  # and what is in it
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[3], shares[-1]) == (0.0, 0.25, 1.0)
    phases.cancelled = True
    assert not phases.step("build", 0)


def test_ctrl_c_is_an_exception_after_the_build_and_not_in_it() -> None:
    """Crossing TensorRT's C++ code it would end the process; afterwards Ctrl-C is what it was."""
    phases, before = Phases(lambda _phase, _share: None), signal.getsignal(signal.SIGINT)
    phases.start("build", 2)

    def build() -> None:
        with interruptible(phases):
            signal.raise_signal(signal.SIGINT)
            assert not phases.step("build", 0)
            went_on.append(True)

    went_on: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        build()
    assert went_on
    assert signal.getsignal(signal.SIGINT) is before


def test_a_build_on_another_thread_leaves_signals_alone() -> None:
    """Python takes handlers in the main thread only: a program that builds in another would get a ValueError."""
    before = signal.getsignal(signal.SIGINT)

    def build() -> object:
        with interruptible(Phases(lambda _phase, _share: None)):
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(build).result() is before


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_progress_that_nobody_reads_is_told_once(error: Exception) -> None:
    """An exception in TensorRT's monitor would cancel a build of minutes, because of `| head`."""
    calls: list[str] = []

    def tell(phase: str, _share: float) -> None:
        calls.append(phase)
        raise error

    phases = Phases(tell)
    phases.start("build", 3)
    assert phases.step("build", 0)
    phases.finish("build")
    assert calls == ["build"]


def test_a_phase_inside_of_a_phase_is_a_share_of_its_step() -> None:
    told: list[float] = []
    phases = Phases(lambda _phase, share: told.append(share))
    phases.start("build", 4)
    phases.step("build", 0)
    phases.start("inner", 2)
    phases.step("inner", 0)
    assert told == [0.0, 0.25, 0.25, 0.375]
    phases.step("inner", 99)  # more steps than were said
    assert told[-1] == 0.5
