"""A capture process for tests: plays a script of what a sound card might do.

options: rate, late_s (see wire.py), hertz (of a tone in whole periods, not a constant magnitude), script: a list of
steps [kind, ...]:
    ["audio", seconds, value]   blocks of 50 ms at the clock's pace, of constant magnitude
    ["burst", seconds, value]   the same at once, as after a delay
    ["wait", seconds]           nothing comes, nothing is lost: the next frames were captured meanwhile
    ["drop", seconds]           frames that never come, and time passes
    ["skip", seconds]           frames that the capture knows to be lost
    ["hang"]                    nothing comes any more
    ["fail", reason]            the capture says that it cannot go on
    ["exit"]                    it ends without a word
"""

from __future__ import annotations

import array
import json
import math
import sys
import time
from typing import Any

from edgebird.capture import wire
from edgebird.capture.devices import CARD_LATE_S

BLOCK_S = 0.05


class Player:
    def __init__(self, rate: int, late_s: float, hertz: float | None) -> None:
        self.rate, self.position, self.clock = rate, 0, time.monotonic()
        frames = range(round(BLOCK_S * rate))
        self.wave = [math.sin(2 * math.pi * hertz * i / rate) if hertz else (-1) ** i for i in frames]
        self.pipe = sys.stdout.buffer
        wire.say(self.pipe, wire.OPEN, rate=rate, channels=1, device="a fake", late_s=late_s)

    def audio(self, seconds: float, value: float, paced: bool = True) -> None:
        for _ in range(round(seconds / BLOCK_S)):
            if paced:
                self.clock += BLOCK_S
                time.sleep(max(0.0, self.clock - time.monotonic()))
            samples = array.array("f", [value * shape for shape in self.wave])
            at = self.clock if paced else time.monotonic()
            wire.write(self.pipe, wire.Message(wire.DATA, samples.tobytes(), at, self.position))
            self.position += len(samples)

    def play(self, step: list[Any]) -> bool:
        kind, *values = step
        match kind:
            case "audio":
                self.audio(*values)
            case "burst":
                self.audio(*values, paced=False)
            case "wait" | "drop":
                self.clock += values[0]
                time.sleep(max(0.0, self.clock - time.monotonic()))
            case "skip":
                self.position += round(values[0] * self.rate)
                self.clock += values[0]
            case "hang":
                time.sleep(3600)
            case "fail":
                wire.say(self.pipe, wire.FAIL, reason=values[0], text="as the script says")
                return False
            case "exit":
                return False
        return True


def main() -> None:
    options = json.loads(sys.stdin.readline())
    player = Player(options["rate"], options.get("late_s", CARD_LATE_S), options.get("hertz"))
    for step in options["script"]:
        if not player.play(step):
            return
    sys.stdin.read()  # until the parent has had enough


if __name__ == "__main__":
    main()
