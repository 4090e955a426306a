"""Microphones by name: the one that is meant is taken, or nothing."""

from __future__ import annotations

import pytest

from edgebird.capture.devices import Device, choose
from edgebird.capture.serve import CaptureError


def test_a_name_means_the_device_of_that_name_before_those_that_contain_it() -> None:
    found = [Device(i, name, "ALSA", 1, 48000, i == 2) for i, name in enumerate(["Mic 2", "Mic", "USB Mic 7"])]
    assert [choose(found, wanted).index for wanted in (None, "Mic", "usb", "0")] == [2, 1, 2, 0]
    with pytest.raises(CaptureError, match=r"^no microphone; there is none$"):
        choose([], None)
