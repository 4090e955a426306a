"""Everything that edgebird foresees can go wrong.

EdgebirdError                what the command line says as `error: ...`, exit code 1
├── AudioError               a file or stream that cannot be read as sound
│   └── IncompleteAudioError one of which a part is missing or cannot be decoded; all else was read
├── BundleError              a bundle, card or golden file that is missing, damaged or inconsistent
├── CheckpointError          a checkpoint that is not one, or does not fit
├── DatabaseError            a station's database that cannot be read
├── ExportError              a graph that cannot be built, or not for the engines that shall run it
├── LabelError               a label file or species list that does not fit
├── OutputError              a result that cannot be written
│   └── WrongOutputError     a place for results that is something else already: trying again would not help
├── ParityError              a model that does not equal its original
├── RuntimeUnavailableError  an engine that cannot run here
│   └── NotInstalledError    one that is not even installed
├── ScoreError               windows that an engine gave no scores for, or scores that are not finite
└── UsageError               options that do not fit together: wrong usage, exit code 2

A message is one line: what was wrong, the value, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class EdgebirdError(Exception):
    """A foreseen error; its text is one line for the user."""


class AudioError(EdgebirdError):
    """A file or stream that cannot be read as sound."""


class IncompleteAudioError(AudioError):
    """A file of which a part is missing or cannot be decoded. It comes last: all that there is was read before."""


class BundleError(EdgebirdError):
    """A bundle, card or golden file that is missing, damaged or inconsistent."""


class CheckpointError(EdgebirdError):
    """A checkpoint that is not one, or does not fit the network."""


class DatabaseError(EdgebirdError):
    """A station's database, or that of reviews, that cannot be read."""


class ExportError(EdgebirdError):
    """A graph that cannot be built, or that the engines it is meant for would not take."""


class LabelError(EdgebirdError):
    """A label file or species list that does not fit."""


class OutputError(EdgebirdError):
    """A result that cannot be written."""


class WrongOutputError(OutputError):
    """A place for results that is something else already, such as another table: trying again would not help."""


class ParityError(EdgebirdError):
    """A model whose scores differ from those of its original by more than the tolerance."""


class RuntimeUnavailableError(EdgebirdError):
    """An engine that cannot run on this machine."""


class NotInstalledError(RuntimeUnavailableError):
    """An engine whose package is not installed: no fault of this machine, and no news to who did not ask for it."""


class ScoreError(EdgebirdError):
    """Windows without scores: the engine failed with them, or gave scores that are not finite, or too few.

    windows: numbers of these among those scored together, in order.
    """

    def __init__(self, message: str, windows: Sequence[int] = (0,)) -> None:
        super().__init__(message)
        self.windows = windows


class UsageError(EdgebirdError):
    """Options that do not fit together; exit code 2."""
