"""Freezing: the network made of constants is the network that was trained, on every kind of sound."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

torch = require("torch")

from edgebird.export.families.folds.experiments import EXPERIMENTS, WINDOW_SAMPLES  # noqa: E402
from edgebird.export.families.folds.fourier import real_fourier, spread_filters  # noqa: E402
from edgebird.export.families.folds.freeze import FrozenBlock, freeze  # noqa: E402
from edgebird.export.families.folds.frontend import Spectrum, _smoother, freeze_frontend  # noqa: E402
from edgebird.export.families.folds.network import Block, BlockShape, FoldModel  # noqa: E402
from edgebird.export.families.folds.windows import golden_audio  # noqa: E402
from tests.seeded import narrow_architecture, seeded_model  # noqa: E402


def narrow(experiment: str, per_window: bool = True) -> FoldModel:
    model = seeded_model(experiment, architecture=narrow_architecture(12))
    if experiment != "exp107":
        model.frontend.per_window = per_window
    return model


def in_float64(model: FoldModel, audio: Any) -> Any:
    with torch.inference_mode():
        return deepcopy(model).double()(audio.double())


# ------------------------------------------------------------------------------------------------------------ spectrum
@pytest.mark.parametrize("size", [1024, 2048])
def test_the_small_products_are_the_power_spectrum(size: int) -> None:
    random = np.random.default_rng(size)
    samples, filters = random.normal(size=(2, size, 3)), random.uniform(size=(size // 2 + 1, 7))
    fourier = real_fourier(size)
    power = Spectrum(fourier).double()(torch.from_numpy(samples)).numpy()  # [2, outputs, 3]
    wanted = np.abs(np.fft.rfft(samples, axis=1)) ** 2
    np.testing.assert_allclose(power, wanted[:, fourier.bins], rtol=0, atol=1e-6 * wanted.max())
    np.testing.assert_allclose(spread_filters(filters, fourier) @ power, filters.T @ wanted, rtol=1e-6)


# ----------------------------------------------------------------------------------------------------------- frontends
@cache
def sounds() -> dict[str, Any]:
    """Batches [2, 160000]: a loud window and the case itself."""
    golden = golden_audio().astype(np.float32) / 32768.0
    time = np.arange(WINDOW_SAMPLES) / 32000
    cases = {
        "birds": golden[4],
        "half silence": golden[3],
        "very quiet": golden[5],
        "clipping": golden[6],
        "DC offset": golden[8],
        "much DC": golden[2] + 0.5,
        "silence": np.zeros(WINDOW_SAMPLES),
        "click": np.eye(1, WINDOW_SAMPLES, 70_000)[0],
        "square at full scale": np.sign(np.sin(2 * np.pi * 1000 * time)),
    }
    return {name: torch.from_numpy(np.stack([golden[1], case]).astype(np.float32)) for name, case in cases.items()}


# What float32 leaves of a constant 15000 times the birds, and of a tone whose neighbours are 100 dB down.
HARD = {"much DC": 1e-4, "square at full scale": 1e-4}


@pytest.mark.parametrize("sound", sounds())
@pytest.mark.parametrize(
    ("experiment", "per_window"),
    [("exp105", True), ("exp105", False), ("exp108", True), ("exp108", False), ("exp107", True)],
)
def test_a_frozen_frontend_gives_the_image_of_the_original(experiment: str, per_window: bool, sound: str) -> None:
    model, audio = narrow(experiment, per_window), sounds()[sound]
    with torch.inference_mode():
        image = freeze_frontend(model).eval()(audio)
        wanted = deepcopy(model).double().image(audio.double())
    assert image.shape == wanted.shape
    assert (image - wanted).abs().max() <= HARD.get(sound, 5e-6)  # the image goes from 0 to 1, to 6 for PCEN


@pytest.mark.parametrize("experiment", ["exp105", "exp108"])
def test_silence_is_an_image_of_zeros_and_a_loud_neighbour_does_not_change_it(experiment: str) -> None:
    audio = sounds()["silence"]
    with torch.inference_mode():
        frontend = freeze_frontend(narrow(experiment)).eval()
        assert not frontend(audio[1:]).any()
        assert not frontend(audio)[1].any()


def test_the_batch_floor_lets_a_loud_neighbour_cut_a_quiet_window() -> None:
    audio = sounds()["very quiet"]
    with torch.inference_mode():
        for per_window, changed in ((True, False), (False, True)):
            frontend = freeze_frontend(narrow("exp105", per_window)).eval()
            assert bool(((frontend(audio)[1] - frontend(audio[1:])[0]).abs() > 0.1).any()) is changed


@pytest.mark.parametrize("experiment", ["exp105", "exp107"])
def test_filters_that_hear_the_lowest_bins_still_get_them(experiment: str) -> None:
    """Of another network of the family: a DC offset may be taken out only where no filter sees it."""
    model, audio = narrow(experiment), sounds()["DC offset"]
    with torch.no_grad():
        (model.frontend.f2m if experiment == "exp107" else model.frontend.mel_scale).fb[:2, 0] = 1.0
    with torch.inference_mode():
        image = freeze_frontend(model).eval()(audio)
        assert (image - deepcopy(model).double().image(audio.double())).abs().max() <= 2e-5


@pytest.mark.parametrize("s", [0.005, 0.043, 0.9])
def test_the_smoother_is_the_recursion(s: float) -> None:
    x = np.random.default_rng(0).uniform(0, 30, size=(313, 5))
    rows = [x[0]]
    for row in x[1:]:
        rows.append((1 - s) * rows[-1] + s * row)
    np.testing.assert_allclose(_smoother(s, 313) @ x, np.stack(rows), rtol=1e-10)


# ------------------------------------------------------------------------------------------------------------ backbone
@pytest.mark.parametrize("size", [(79, 63), (8, 11), (9, 4), (1, 3)])
@pytest.mark.parametrize(("inputs", "stride"), [(16, 2), (16, 1), (32, 1)], ids=["strided", "first", "later"])
def test_a_frozen_block_is_the_block_on_maps_of_odd_sizes_too(size: tuple[int, int], inputs: int, stride: int) -> None:
    torch.manual_seed(0)
    block = Block(BlockShape(inputs, 8, 32, 2, 5), stride, beta=0.9).eval()
    x = torch.randn(2, inputs, *size)
    with torch.inference_mode():
        wanted = deepcopy(block).double()(x.double())
        result = FrozenBlock(block).eval()(x)
    assert result.shape == wanted.shape == (2, 32, *(-(-n // stride) for n in size))
    assert (result - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_frozen_fold_scores_like_the_original(experiment: str) -> None:
    model, audio = narrow(experiment), torch.cat([sounds()[name] for name in ("half silence", "clipping")])
    with torch.inference_mode():
        scores = freeze([model])(audio)
    assert (scores - in_float64(model, audio).sigmoid()).abs().max() <= 1e-6


def test_freezing_leaves_the_original_as_it_was() -> None:
    model, untouched = narrow("exp107"), narrow("exp107").state_dict()
    freeze([model])
    assert all(torch.equal(tensor, untouched[name]) for name, tensor in model.state_dict().items())


# ------------------------------------------------------------------------------------------------------------ ensembles
def other_mel() -> FoldModel:
    model = narrow("exp106")
    with torch.no_grad():
        model.frontend.mel_scale.fb[100, 50] += 0.001
    return model


def other_pcen() -> FoldModel:
    model = narrow("exp107")
    with torch.no_grad():
        model.frontend.alpha += 0.001
    return model


@pytest.mark.parametrize(
    ("folds", "image_of"),
    [
        (lambda: [narrow("exp105"), narrow("exp106")], [0, 0]),
        (lambda: [narrow("exp105"), narrow("exp108"), narrow("exp106")], [0, 1, 0]),
        (lambda: [narrow("exp107"), narrow("exp105"), narrow("exp107")], [0, 1, 0]),
        (lambda: [narrow("exp105"), narrow("exp105", per_window=False)], [0, 1]),
        (lambda: [narrow("exp105"), other_mel()], [0, 1]),
        (lambda: [narrow("exp107"), other_pcen()], [0, 1]),
    ],
    ids=["exp105 and 106 share", "exp108 has its own", "PCEN shares", "other floor", "other filters", "other alpha"],
)
def test_equal_frontends_are_computed_once_and_others_are_not_taken_for_equal(folds: Any, image_of: list[int]) -> None:
    originals = folds()
    network, audio = freeze(originals), sounds()["birds"]
    assert network.image_of == image_of
    assert len(network.frontend) == max(image_of) + 1
    with torch.inference_mode():
        scores = network(audio)
    wanted = sum(in_float64(model, audio).sigmoid() for model in originals) / len(originals)
    assert (scores - wanted).abs().max() <= 1e-6
