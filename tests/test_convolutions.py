"""FP32 convolutions as engines on a GPU may compute them: the same in real numbers, and near enough in FP32."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from edgebird.bundle import GoldenData

torch = pytest.importorskip("torch")

from edgebird.benchmarks.studies import convolutions  # noqa: E402
from edgebird.export.families.folds.freeze import freeze  # noqa: E402
from edgebird.export.families.folds.windows import golden_audio  # noqa: E402
from tests.seeded import narrow_architecture, seeded_model  # noqa: E402


@pytest.mark.parametrize("way", [name for name, way in convolutions.WAYS.items() if way])
@pytest.mark.parametrize("groups", [1, 2])
def test_each_way_is_the_same_convolution(way: str, groups: int) -> None:
    """Heights and widths that no tile fits, groups, a bias: else the table is one of mistakes."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(4, 6, 3, padding=1, groups=groups)
    images = torch.randn(2, 4, 13, 18)
    with torch.inference_mode():
        wanted, found = convolution(images), convolutions.WAYS[way](images, convolution)  # type: ignore[misc]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


def test_an_engine_that_computes_so_passes_its_proof() -> None:
    """TensorRT and cuDNN choose by time alone: if FP32's tolerance broke, a build would fail on some GPUs."""
    network = freeze([seeded_model("exp107", None, narrow_architecture())])
    audio = golden_audio()[:1]
    with torch.inference_mode():
        exact = deepcopy(network).double()(torch.from_numpy(audio / 32768.0)).numpy()
    rows = list(convolutions.rows(network, GoldenData(audio, exact, ("a bird",)), "narrow"))
    assert len(rows) == len(convolutions.WAYS)
    for row in rows:
        _, _, count, _, largest, p99, _ = (cell.strip() for cell in row.split("|"))
        assert int(count) > 5
        assert float(largest) <= 1e-4
        assert float(p99) <= 1e-5
