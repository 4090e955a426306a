"""Ray: workers on the machines of a cluster, each with an open and proven runtime, a CPU or a GPU each."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from edgebird.archives.pool import WorkerDiedError
from edgebird.archives.spans import ScoredSpan, SpanOptions, WindowSpan, score_span
from edgebird.bundle import CARD_FILE, open_bundle
from edgebird.errors import EdgebirdError, ParityError, RuntimeUnavailableError
from edgebird.files import file_sha256
from edgebird.remote.storage import Login, take_logins
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.verification import verify

_ON_GPU = ("tensorrt", "tensorrt-rtx", "ort-cuda", "ort-tensorrt", "ort-webgpu", "ort-rtx")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker is opened.

    bundle: its folder, on every machine. card: SHA-256 of its card. spans: how to score. logins: of hosts with
    recordings.
    """

    bundle: str
    card: str
    runtime: str
    precision: str
    spans: SpanOptions
    logins: Mapping[str, Login] = field(default_factory=dict)


class SpanWorker:
    """What runs on a machine of the cluster. Making it raises EdgebirdError where the engine is not to be trusted."""

    def __init__(self, options: WorkerOptions) -> None:
        take_logins(options.logins)
        bundle = open_bundle(options.bundle)
        if file_sha256(bundle.path / CARD_FILE) != options.card:
            raise ParityError(f"{options.bundle} is another bundle on this machine")
        if bundle.card.golden and options.runtime != "null":
            for found in verify(bundle, options.runtime, options.precision, 1):
                if not found.passed:
                    raise ParityError(f"{found.runtime} is not proven on this machine: {json.dumps(found.to_json())}")
        self._how = options.spans
        self._runtime = open_runtime(bundle, options.runtime, RuntimeOptions(options.precision, 1))

    def ready(self) -> str:
        """The engine that it opened."""
        return self._runtime.name

    def score(self, span: WindowSpan) -> ScoredSpan:
        """See `score_span`."""
        return score_span(span, self._runtime, self._how)


class RayCluster:
    """See `Cluster`. address: of a running cluster, as `ray.init` takes it; None starts one on this computer.

    Raises EdgebirdError where Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str | None, options: WorkerOptions) -> None:
        try:
            import ray
        except ImportError as error:
            raise EdgebirdError(f"--on ray needs ray: pip install 'edgebird[cluster]' ({error})") from error
        self._ray: Any = ray
        more = {} if address else {"include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **more)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise EdgebirdError(f"no cluster at {address}: {' '.join(str(error).split())[:200]}") from error
        resources = ray.cluster_resources()
        is_gpu = options.runtime in _ON_GPU or (options.runtime == "auto" and resources.get("GPU", 0) >= 1)
        self._kind = "GPU" if is_gpu else "CPU"
        needs = {"num_gpus": 1, "num_cpus": 1} if is_gpu else {"num_cpus": 1}
        self._actor: Any = ray.remote(**needs)(SpanWorker)
        self._options = ray.put(options)

    def room(self) -> int:
        """See `Cluster`."""
        return int(self._ray.cluster_resources().get(self._kind, 0))

    def start(self) -> tuple[Any, Any]:
        """See `Cluster`."""
        worker = self._actor.remote(self._options)
        return worker, worker.ready.remote()

    def give(self, worker: Any, task: WindowSpan) -> Any:
        """See `Cluster`."""
        return worker.score.remote(task)

    def wait(self, promises: Sequence[Any], seconds: float) -> list[Any]:
        """See `Cluster`."""
        settled, _ = self._ray.wait(list(promises), num_returns=1, timeout=seconds)
        return list(settled)

    def result(self, promise: Any) -> Any:
        """See `Cluster`."""
        from ray import exceptions

        try:
            return self._ray.get(promise)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, RuntimeUnavailableError | MemoryError):  # others may do better
                raise WorkerDiedError(str(error.cause)) from error
            raise error.as_instanceof_cause() from error
        except exceptions.RayError as error:
            raise WorkerDiedError(" ".join(str(error).split())[:300]) from error

    def stop(self, worker: Any) -> None:
        """See `Cluster`."""
        with suppress(Exception):
            self._ray.kill(worker)

    def close(self) -> None:
        """Leave the cluster; end the one that was started here."""
        with suppress(Exception):
            self._ray.shutdown()
