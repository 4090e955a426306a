"""What computes the stages while a cascade is made: ONNX Runtime those of each graph, OpenVINO what it makes of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from edgebird.bundle import Bundle, GoldenData
from edgebird.errors import ParityError, RuntimeUnavailableError
from edgebird.export.cascade.heard import hear
from edgebird.export.cascade.material import SoundWindow
from edgebird.parity import BF16_OF, compare
from edgebird.runtimes import RuntimeOptions
from edgebird.runtimes.cascade import StageChain, open_chains
from edgebird.types import Window


class StageEngines:
    """The stages of each precision, each seen to score golden windows as the original network did.

    bundle: the one that is being made. files: precision -> part -> graph. golden: its golden data. Raises ParityError
    for a precision with a graph of its own; one that an engine makes of it is told, and left out, where this machine
    does not make it or it is too far off.
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
        self.names = list(files)
        for name in files:
            self._check(name)
        for made, name in BF16_OF.items():
            if name not in files or made in bundle.card.precisions[name].refuses:
                continue
            self.files[made] = files[name]
            try:
                self._check(made)
                self.names.append(made)
            except (RuntimeUnavailableError, ParityError) as error:
                tell(f"cascade   none at {made}: {error}")

    def open(self, names: Iterable[str], gate: Path | None = None) -> dict[str, Sequence[StageChain]]:
        """Of these precisions, for a stream on each core. gate: judges the images."""
        return {name: self._open(name, {} if gate is None else {"gate": gate}) for name in names}

    def _open(self, name: str, more: Mapping[str, Path]) -> Sequence[StageChain]:
        engine = "openvino" if name in BF16_OF else "ort-cpu"
        options = RuntimeOptions(name, throughput=True)
        return open_chains(engine, {**self.files[name], **more}, self._bundle, options)

    def _check(self, name: str) -> None:
        """Raise ParityError unless the stages, one behind the other, score golden windows as they should."""
        tolerance, golden = self._bundle.card.tolerance(name), self._golden
        each = zip(golden.names, golden.windows(), strict=True)
        sounds = [SoundWindow(what, Window(window, 0, len(window))) for what, window in each]
        parity = compare(golden.scores, hear(sounds, self.open([name])).scores[name], tolerance)
        if not parity.passes(tolerance):
            raise ParityError(f"the stages of {name} do not score as the network does: {parity.max_abs:.1e} off")
