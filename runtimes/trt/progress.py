"""How far TensorRT is with an engine, from its progress monitor, and how a build is stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Phases:
    """How far TensorRT is, from what its progress monitor tells: phases within phases, each of some steps.

    Any thread may tell, as TensorRT's own do. tell: takes the phase and the share that is done; once it fails because
    nobody reads it any more (OSError, ValueError), it is not called again.
    """

    def __init__(self, tell: Callable[[str, float], None]) -> None:
        self._tell: Callable[[str, float], None] | None = tell
        self._lock = threading.Lock()
        self._phases: dict[str, list[int]] = {}  # name -> steps done, steps; the outermost first
        self._share = 0.0
        self.cancelled = False

    def start(self, phase: str, steps: int) -> None:
        """A phase begins, inside of the one that began last."""
        with self._lock:
            self._phases[phase] = [0, max(1, steps)]
            self._report(phase, self._advance())

    def step(self, phase: str, step: int) -> bool:
        """A step of a phase is through; whether to go on."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase][0] = step + 1
                self._report(phase, self._advance())
        return not self.cancelled

    def finish(self, phase: str) -> None:
        """A phase is through, and all that began inside of it."""
        with self._lock:
            if phase in self._phases:
                names = list(self._phases)
                for name in names[names.index(phase) :]:
                    del self._phases[name]
                self._report(phase, self._advance() if self._phases else 1.0)

    def _report(self, phase: str, share: float) -> None:
        if self._tell is None:
            return
        try:
            self._tell(phase, share)
        except (OSError, ValueError):  # a closed stderr; in TensorRT's C++ code an exception would cancel the build
            self._tell = None

    def _advance(self) -> float:
        """The share that is done, 0 to 1; it never goes back."""
        share, weight = 0.0, 1.0
        for done, steps in self._phases.values():
            share += weight * min(done, steps) / steps
            weight /= steps
        self._share = max(self._share, min(share, 1.0))
        return self._share


def make_monitor(trt: ModuleType, phases: Phases) -> Any:
    """A TensorRT progress monitor that tells `phases`; it must live as long as the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


@contextmanager
def interruptible(phases: Phases) -> Iterator[None]:
    """Ctrl-C asks TensorRT to stop at its next step: an exception must not cross its C++ code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(_signal: int, _frame: Any) -> None:
        phases.cancelled = True

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if phases.cancelled:
        raise KeyboardInterrupt
