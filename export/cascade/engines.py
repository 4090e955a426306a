"""What computes the stages while a cascade is made: ONNX Runtime those of each graph, OpenVINO what it makes of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgebird.bundle import Bundle, GoldenData
from edgebird.errors import EdgebirdError, ParityError, RuntimeUnavailableError, ScoreError
from edgebird.export.cascade.heard import HeardWindows, hear
from edgebird.export.cascade.material import SoundWindow
from edgebird.parity import BF16_OF, compare
from edgebird.runtimes import RuntimeOptions, probe_apart
from edgebird.runtimes.cascade import open_chains
from edgebird.types import Window

FAULTS = (RuntimeUnavailableError, ParityError, ScoreError)  # for which a precision that is made of a graph is left out


class StageEngines:
    """The stages of each precision, each seen to score golden windows as the original network did.

    bundle: the one that is being made. files: precision -> part -> graph. golden: its golden data. A precision that an
    engine makes of a graph is told, and left out, where this machine does not make it or it is too far off. Raises
    ParityError for one with a graph of its own.
    """

    def __init__(
        self,
        bundle: Bundle,
        files: Mapping[str, Mapping[str, Path]],
        golden: GoldenData,
        tell: Callable[[str], None],
    ) -> None:
        self._bundle, self._golden = bundle, golden
        self.files = dict(files)
        self.made = dict.fromkeys(made for made, name in BF16_OF.items() if name in files)
        for name in files:
            self._check(name)
        asked = dict(probe_apart(["openvino"])) if self.made else {}  # apart: it may crash where it is imported
        for name in list(self.made):
            self.files[name] = files[BF16_OF[name]]
            try:
                self._require_engine(name, asked["openvino"])
                self._check(name)
            except FAULTS as error:
                tell(f"cascade   none at {name}: {error}")
                del self.made[name], self.files[name]

    def hear(self, sounds: Iterable[SoundWindow], name: str, judges: Mapping[str, Path] | None = None) -> HeardWindows:
        """Hear windows by the stages of a precision, a stream on each core. judges: `gate`, `head` -> graph."""
        engine = "openvino" if name in BF16_OF else "ort-cpu"
        files, options = {**self.files[name], **(judges or {})}, RuntimeOptions(name, throughput=True)
        return hear(sounds, open_chains(engine, files, self._bundle, options))

    def _require_engine(self, name: str, answer: str | EdgebirdError) -> None:
        """Raise RuntimeUnavailableError unless a precision may be made here. answer: OpenVINO's, when it was asked."""
        if told := self._bundle.card.precisions[BF16_OF[name]].refuses.get(name):
            raise RuntimeUnavailableError(f"the export refuses it: {told}")
        if isinstance(answer, EdgebirdError):
            raise RuntimeUnavailableError(str(answer))

    def _check(self, name: str) -> None:
        """Raise ParityError unless the stages, one behind the other, score golden windows as they should."""
        tolerance, golden = self._bundle.card.tolerance(name), self._golden
        each = zip(golden.names, golden.windows(), strict=True)
        sounds = [SoundWindow(what, Window(window, 0, len(window))) for what, window in each]
        parity = compare(golden.scores, self.hear(sounds, name).scores, tolerance)
        if not parity.passes(tolerance):
            raise ParityError(f"the stages of {name} do not score as the network does: {parity.max_abs:.1e} off")
