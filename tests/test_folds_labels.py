"""The classes of the fold models: in the order of the network's outputs, or every bird gets another one's name."""

from __future__ import annotations

from edgebird.export.families.folds.labels import birdclef2023


def test_the_classes_are_264_in_the_order_of_the_outputs() -> None:
    """The competition sorted them by code: one that is out of order shifts the names of all that follow."""
    codes = [label.code for label in birdclef2023()]
    assert len(codes) == 264
    assert codes == sorted(set(codes))
    assert (codes[0], codes[-1]) == ("abethr1", "yewgre1")


def test_every_class_has_both_names() -> None:
    """A detection is told by them, and species lists are matched against them."""
    for label in birdclef2023():
        assert len(label.scientific_name.split()) == 2, label
        assert label.common_name.strip() == label.common_name != "", label
    assert len({label.scientific_name for label in birdclef2023()}) == 264
