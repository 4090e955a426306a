"""The card: what a model is, as data (card.json in a bundle)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgebird.calibration import Calibration
from edgebird.cascade import Cascade
from edgebird.errors import BundleError, UsageError
from edgebird.parity import ADOPTED_FP32, TOLERANCES, Tolerance
from edgebird.types import Label

FORMAT = 1
OPSET = 18  # of the graphs that edgebird writes: every engine that it names has kernels for it (docs/export.md)
OLDEST_TENSORRT = "TensorRT 10.3 (JetPack 6)"  # as the lint calls it
FLOOR_GROUP = 4  # windows that share one -80 dB floor in a bundle of db_floor `batch`
DB_FLOORS = ("window", "batch")
ACTIVATIONS = ("none", "sigmoid", "softmax")
SCORES = "scores"  # what the output that is scored is called beside the names of further outputs
SOUND, GEO = "sound", "geo"
KINDS = (SOUND, GEO)
PLACE = ("latitude", "longitude", "week")  # what a model of places takes in place of a window
ADOPTED_SIZES = (1, 2, 3, 4, 8)  # at which a model that was adopted is proven
_NO_DIGEST = "0" * 64
_DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')


def floor_group(db_floor: str) -> int:
    """How many consecutive windows of a file are scored together, by what their -80 dB floor is taken from."""
    return FLOOR_GROUP if db_floor == "batch" else 1


@dataclass(frozen=True, slots=True)
class Tensor:
    """Name and shape of a graph's input or output; a dimension is a number, or the name of one that is free."""

    name: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """A checkpoint that went into the model: file name, SHA-256 of the file, experiment."""

    file: str
    sha256: str
    experiment: str


@dataclass(frozen=True, slots=True)
class Precision:
    """A graph of the bundle: file name and SHA-256, ONNX opset, and the parity it was written with (see parity.py).

    proofs: each further thing it was held to -> parity. kept: node that stayed in FP32 though it is of the backbone ->
    why. share: of a window's multiplications, how many are in lower precision; None where nobody counted.
    costs: node in lower precision -> root mean square of the score differences that it alone causes, if measured.
    lint: engine and its versions -> node that it does not take -> why; empty for an engine that takes all.
    refused: how many graphs the same proofs had refused before it. refuses: what an engine would make of it, such as
    `bf16`, and must not, for it was beyond its tolerance when it was exported -> by how much.
    """

    file: str
    sha256: str
    opset: int
    tolerance: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    proofs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    share: float | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    lint: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refused: int = 0
    refuses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is done to each window before the graph has it, in this order.

    remove_mean: its mean is taken away. peak, rms: its largest magnitude, or its root mean square, is made this;
    silence stays silence. None: left as it is.
    """

    remove_mean: bool = False
    peak: float | None = None
    rms: float | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """Where the weights of a model that edgebird did not export are from.

    family: as `adopt --as` calls it, "" for one that a card describes. file, sha256: what was adopted. licence: of the
    weights. source: who publishes them, and where.
    """

    family: str
    file: str
    sha256: str
    licence: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Golden:
    """The file with real audio windows and the original network's scores of them.

    windows, recordings: how many windows, of how many recordings; 0 in cards of before they were counted. floored: how
    many of the windows had digital silence, which the reference does not hold, and have a recorder's noise instead.
    silence: how far the reference's own scores moved there when noise far below float32's rounding was added.
    """

    file: str
    sha256: str
    windows: int = 0
    recordings: int = 0
    floored: int = 0
    silence: float = 0.0

    def told_silence(self, reference: str) -> str:
        """What nothing is held to, in words; "" for a reference that holds digital silence."""
        if not self.floored:
            return ""
        return (
            f"in digital silence {reference} does not hold its own scores: noise far below float32's rounding moves "
            f"them by up to {self.silence:.1e}; {self.floored} of the {self.windows} windows have a recorder's dither"
        )


@dataclass(frozen=True, slots=True)
class Card:
    """What a model is.

    sample_rate in Hz, window_samples at that rate. input: [batch, window_samples] float32, -1 to 1; output: [batch,
    classes] float32. activation: what is still to be applied to the output to get scores, `none` or `sigmoid` or
    `softmax` (over the classes). sensitivity: of a sigmoid as BirdNET has it, 1 / (1 + exp(-sensitivity x)) with x cut
    off at -15 and 15; None for the plain one. scaling: of windows before the graph; None for none.
    db_floor: `window`, or `batch` for a model whose windows are scored in groups of four of one file. images: the
    tensors between frontend and backbone; maps: those between backbone and pooling. golden: None for a model that came
    without. outputs: what else the graph gives, such as `embeddings` -> its output. reference: what the golden scores
    were computed with, such as `float32, LiteRT 2.3.0`; "" for the original network in float64. provenance: of a model
    that was adopted. not_birds: code of a class that is no bird -> what it is, such as `human`. kind: `sound`, or `geo`
    for a model of places: its sample_rate is 0, and what it takes are not windows but latitude, longitude and week.
    calibration: None for a model whose scores are not probabilities, and that is every one at first. cascade: None for
    a model that scores every window in full.
    """

    labels: tuple[Label, ...]
    sample_rate: int
    window_samples: int
    input: Tensor
    output: Tensor
    precisions: Mapping[str, Precision]
    activation: str = "none"
    db_floor: str = "window"
    images: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    golden: Golden | None = None
    sensitivity: float | None = None
    scaling: Scaling | None = None
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    reference: str = ""
    provenance: Adoption | None = None
    not_birds: Mapping[str, str] = field(default_factory=dict)
    kind: str = SOUND
    calibration: Calibration | None = None
    cascade: Cascade | None = None
    edgebird: str = ""
    created: str = ""
    format: int = FORMAT

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that the graph takes; None if it takes any."""
        size = self.input.shape[0]
        return size if isinstance(size, int) else None

    @property
    def codes(self) -> tuple[str, ...]:
        """Those of the classes, in the order of the outputs."""
        return tuple(label.code for label in self.labels)

    @property
    def batches(self) -> tuple[int, ...]:
        """How many windows are scored at once: one, as more gains nothing on a CPU; groups of four and their rest
        for a model whose windows share a floor.
        """
        return tuple(range(1, floor_group(self.db_floor) + 1))

    def proof_sizes(self, largest: int | None = None) -> tuple[int, ...]:
        """How many windows at once an engine is given to prove it: one, four, and the `largest` batch it takes, which
        must make no difference; groups of four for a model whose windows share a floor. A model that was adopted is
        given more: exports with a batch that is free by name only are known.
        """
        group = floor_group(self.db_floor)
        if group > 1:
            return (group,)
        if self.reference and self.fixed_batch is None:
            return tuple(sorted({*ADOPTED_SIZES, largest or 1}))
        return (1, 4) if largest is None else tuple(sorted({1, min(4, largest), largest}))

    def require_sound(self) -> None:
        """Raise UsageError for a model of places, which hears nothing."""
        if self.kind != SOUND:
            raise UsageError(f"this bundle is a model of places ({', '.join(PLACE)}): it scores no sound")

    def tolerance(self, precision: str) -> Tolerance:
        """How far scores in a precision may be from the golden ones."""
        return ADOPTED_FP32 if self.reference and precision == "fp32" else TOLERANCES[precision]

    def hashes(self) -> dict[str, str]:
        """Name and SHA-256 of every file of the bundle but the card."""
        files = {precision.file: precision.sha256 for precision in self.precisions.values()}
        golden = {self.golden.file: self.golden.sha256} if self.golden else {}
        return files | golden | (self.cascade.hashes() if self.cascade else {})

    def to_bytes(self) -> bytes:
        """As JSON with its own digest: SHA-256 of these very bytes with 64 zeros in the digest's place."""
        fields = asdict(self)
        content = {"format": fields.pop("format"), "digest": _NO_DIGEST, **fields}
        for name in ("calibration", "cascade"):
            if content[name] is None:
                del content[name]  # so that an edgebird from before reads the card
        content["labels"] = content.pop("labels")  # the longest part last
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()
        return text.encode().replace(_NO_DIGEST.encode(), digest.encode(), 1)  # the first key but one


def read_card(path: Path) -> Card:
    """Read card.json and check its digest. Raises BundleError saying what is wrong with it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path.parent}: not a bundle, it has no {path.name}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    digests = list(_DIGEST.finditer(data))
    if len(digests) != 1:
        raise BundleError(f"{path}: damaged, or sealed by nobody: {len(digests)} digests (edgebird.seal adds one)")
    (found,) = digests
    blank = data[: found.start(1)] + _NO_DIGEST.encode() + data[found.end(1) :]
    if hashlib.sha256(blank).hexdigest() != found[1].decode():
        raise BundleError(f"{path}: damaged or edited: its digest does not fit (edgebird.seal renews it)")
    return parse_card(data, path)


def parse_card(data: bytes, path: Path) -> Card:
    """Card from the bytes of its JSON, digest not checked; `path` names it in a BundleError."""
    try:
        content = json.loads(data)
        if content.get("format") != FORMAT:
            raise BundleError(
                f"{path}: card format {content.get('format')!r}, this edgebird reads {FORMAT}: export the bundle again"
            )
        card = _card(content)
        _check(card, path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{path}: not a card: {reason}") from error
    return card


def _card(content: dict[str, Any]) -> Card:
    content = dict(content)
    content.pop("digest", None)
    return Card(
        labels=tuple(Label(**label) for label in content.pop("labels")),
        input=_tensor(content.pop("input")),
        output=_tensor(content.pop("output")),
        precisions={name: _precision(value) for name, value in content.pop("precisions").items()},
        images=tuple(content.pop("images", ())),
        maps=tuple(content.pop("maps", ())),
        folds=tuple(Fold(**fold) for fold in content.pop("folds", ())),
        golden=Golden(**golden) if (golden := content.pop("golden", None)) else None,
        scaling=Scaling(**scaling) if (scaling := content.pop("scaling", None)) else None,
        outputs={name: _tensor(value) for name, value in content.pop("outputs", {}).items()},
        calibration=Calibration.of(found) if (found := content.pop("calibration", None)) else None,
        cascade=Cascade.of(made) if (made := content.pop("cascade", None)) else None,
        provenance=Adoption(**origin) if (origin := content.pop("provenance", None)) else None,
        **content,
    )


def _precision(content: dict[str, Any]) -> Precision:
    """Cards of before the lint told engines apart list what TensorRT does not take, without its name."""
    found = content.get("lint", {})
    if any(isinstance(reason, str) for reason in found.values()):
        content = {**content, "lint": {OLDEST_TENSORRT: found}}
    return Precision(**content)


def _tensor(content: dict[str, Any]) -> Tensor:
    return Tensor(content["name"], tuple(content["shape"]))


def _check(card: Card, path: Path) -> None:
    """Raise BundleError for values that no reader could work with."""
    for name, value, allowed in (
        ("kind", card.kind, KINDS),
        ("activation", card.activation, ACTIVATIONS),
        ("db_floor", card.db_floor, DB_FLOORS),
    ):
        if value not in allowed:
            raise BundleError(f"{path}: {name} is {value!r}, wanted {' or '.join(allowed)}")
    sizes = {"window_samples": card.window_samples} | ({"sample_rate": card.sample_rate} if card.kind == SOUND else {})
    for name, number in sizes.items():
        if not isinstance(number, int) or number <= 0:
            raise BundleError(f"{path}: {name} is {number!r}, wanted a positive whole number")
    _check_tensors(card, path)
    codes = [label.code for label in card.labels]
    if len(set(codes)) != len(codes):
        raise BundleError(f"{path}: label codes come twice: {sorted({c for c in codes if codes.count(c) > 1})[:3]}")
    for file in card.hashes():
        if Path(file).name != file:
            raise BundleError(f"{path}: {file!r} is not a plain file name")
    if not card.precisions or not set(card.precisions) <= set(TOLERANCES):
        raise BundleError(f"{path}: precisions {list(card.precisions)}, wanted some of {', '.join(TOLERANCES)}")


def _check_tensors(card: Card, path: Path) -> None:
    if card.input.shape[1:] != (card.window_samples,):
        raise BundleError(f"{path}: input shape {list(card.input.shape)} does not fit {card.window_samples} samples")
    if card.output.shape[1:] != (len(card.labels),):
        raise BundleError(f"{path}: output shape {list(card.output.shape)} does not fit {len(card.labels)} labels")
    for what, tensor in card.outputs.items():
        if what == SCORES or not all(isinstance(size, int) and size > 0 for size in tensor.shape[1:]):
            shape = list(tensor.shape)
            raise BundleError(f"{path}: output {what!r} is {shape}: only those are read whose batch alone is free")
    if card.sensitivity is not None and (card.activation != "sigmoid" or not card.sensitivity > 0):
        raise BundleError(f"{path}: sensitivity {card.sensitivity!r}: a number above 0, of a sigmoid")
    levels = {"peak": card.scaling.peak, "rms": card.scaling.rms} if card.scaling else {}
    for name, value in levels.items():
        if value is not None and not value > 0:
            raise BundleError(f"{path}: scaling to a {name} of {value!r}: wanted a number above 0")
    if unknown := set(card.not_birds) - {label.code for label in card.labels}:
        raise BundleError(f"{path}: not_birds names {min(unknown)!r}, which is no code of a label")
