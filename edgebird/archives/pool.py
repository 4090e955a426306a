"""A pool of workers that may die: tasks go out as workers are free, and results come in the order of the tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from edgebird.errors import EdgebirdError, RuntimeUnavailableError

T = TypeVar("T")
R = TypeVar("R")

_EACH = 2  # tasks that a worker has at a time, so that it never waits for the next
_AHEAD = 8  # tasks for each worker whose results may wait for one before them
_TRIES = 3  # of a task, before it is taken for what kills workers
_LOOK_S = 5.0  # how often it is looked for new machines


class WorkerDiedError(EdgebirdError):
    """A worker that is gone, with what it had: a machine that was switched off, memory that was not enough."""


class Cluster(Protocol):
    """What a pool runs on. Workers and promises are of its own kinds; promises can be keys."""

    def room(self) -> int:
        """How many workers there is room for now, those that run counted."""
        ...

    def start(self) -> tuple[Any, Any]:
        """A new worker, and the promise that it is ready."""
        ...

    def give(self, worker: Any, task: Any) -> Any:
        """Give a worker a task; the promise of its result."""
        ...

    def wait(self, promises: Sequence[Any], seconds: float) -> list[Any]:
        """Those of which the first is kept or broken, after so many seconds none."""
        ...

    def result(self, promise: Any) -> Any:
        """What a promise came to. Raises WorkerDiedError, and what the worker raised."""
        ...

    def stop(self, worker: Any) -> None:
        """Be rid of a worker, dead or not."""
        ...


@dataclass(slots=True, eq=False)
class _Slot(Generic[T]):
    """A task on its way. lost: how many workers died with it."""

    task: T
    lost: int = 0
    is_done: bool = False
    result: Any = None


@dataclass(slots=True, eq=False)
class _Hand:
    """A worker, and what it has."""

    worker: Any
    has: dict[Any, _Slot[Any]] = field(default_factory=dict)


class Pool(Generic[T]):
    """Has tasks done by the workers of a cluster: as many as there is room for, also where machines come and go."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._hands: list[_Hand] = []
        self._starting: dict[Any, Any] = {}
        self._order: deque[_Slot[T]] = deque()
        self._waiting: deque[_Slot[T]] = deque()
        self._failures: list[str] = []

    @property
    def size(self) -> int:
        """How many workers there is room for."""
        return max(1, self._cluster.room())

    def run(self, tasks: Iterable[T]) -> Iterator[tuple[T, Any]]:
        """Each task with its result, in order; a WorkerDiedError for one that several workers died with.

        Not many tasks are taken before the results of those before them are. Raises RuntimeUnavailableError where no
        worker can be had, and what workers raise.
        """
        coming = iter(tasks)
        order = self._order
        self._recruit()
        while True:
            room = _AHEAD * max(1, len(self._hands)) - len(order)
            for task in islice(coming, max(0, room)):
                order.append(_Slot(task))
                self._waiting.append(order[-1])
            if not order:
                return
            self._give()
            if order[0].is_done:
                slot = order.popleft()
                yield slot.task, slot.result
            else:
                self._settle()

    def again(self, task: T) -> None:
        """Have a task done before all others; its result comes next."""
        slot = _Slot(task)
        self._order.appendleft(slot)
        self._waiting.appendleft(slot)

    def _recruit(self) -> None:
        if len(self._failures) >= _TRIES:  # since the last that could be had
            return
        for _ in range(self._cluster.room() - len(self._hands) - len(self._starting)):
            worker, ready = self._cluster.start()
            self._starting[ready] = worker

    def _give(self) -> None:
        for hand in sorted(self._hands, key=lambda one: len(one.has)):
            while self._waiting and len(hand.has) < _EACH:
                slot = self._waiting.popleft()
                hand.has[self._cluster.give(hand.worker, slot.task)] = slot

    def _settle(self) -> None:
        """Wait for the next thing that happens."""
        promises = [*self._starting, *(promise for hand in self._hands for promise in hand.has)]
        if not promises:
            self._recruit()
            if not self._starting:
                raise RuntimeUnavailableError(
                    f"no worker is left: {self._failures[-1] if self._failures else 'no room'}"
                )
            return
        settled = self._cluster.wait(promises, _LOOK_S)
        for promise in settled:
            if promise in self._starting:
                self._join(promise)
            else:
                self._take(promise)
        if not settled:
            self._recruit()

    def _join(self, promise: Any) -> None:
        worker = self._starting.pop(promise)
        try:
            self._cluster.result(promise)
        except WorkerDiedError as error:
            self._failures.append(str(error))
        else:
            self._hands.append(_Hand(worker))
            self._failures.clear()

    def _take(self, promise: Any) -> None:
        hand = next((one for one in self._hands if promise in one.has), None)
        if hand is None:  # it died with another task
            return
        slot = hand.has.pop(promise)
        try:
            slot.result, slot.is_done = self._cluster.result(promise), True
        except WorkerDiedError as error:
            self._hands.remove(hand)
            self._cluster.stop(hand.worker)
            self._recruit()
            for lost in [*reversed(hand.has.values()), slot]:  # the first of them again at the front
                self._again(lost, error, is_to_blame=lost is slot)

    def _again(self, slot: _Slot[T], error: WorkerDiedError, is_to_blame: bool) -> None:
        slot.lost += is_to_blame
        if slot.lost >= _TRIES:
            slot.result, slot.is_done = error, True
        else:
            self._waiting.appendleft(slot)
