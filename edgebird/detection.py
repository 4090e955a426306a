"""Detection: a source's audio, cut into windows, scored, pooled. The one path that files and live sources share."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.card import Card
from edgebird.cascade import STAGES, CascadeUse, stage_of
from edgebird.errors import IncompleteAudioError, ScoreError, UsageError
from edgebird.events import Event, Events
from edgebird.frequencies import week_of
from edgebird.hours import within
from edgebird.pooling import LONGEST_S, Onset, Pooled, Pooler
from edgebird.prefetch import prefetch
from edgebird.rarity import Season, season_of
from edgebird.runtimes import Runtime
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.settings import model
from edgebird.settings.hours import Spans, SunBound
from edgebird.settings.model import DetectionSettings, SourceSettings
from edgebird.settings.toml import read_thresholds
from edgebird.sources import FileSource
from edgebird.species import allowed_labels, name_key
from edgebird.suppression import Suppression, Suppressor, suppression_of
from edgebird.types import AudioBlock, Detection, FloatArray, Gap, Label, Rejected, Stopped, Summary, Window
from edgebird.voices import VoiceWatch
from edgebird.windows import MIN_TAIL_S, Windower

HOP_S, THRESHOLD = model.HOP_S, model.THRESHOLD
_NOTHING = np.empty(0, np.float32)
_DAY: Spans = ((SunBound("sunrise"), SunBound("sunset")),)


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """How windows become detections.

    hop: samples between the starts of windows. threshold: lowest score that counts, one for all labels or float32
    [classes]. min_windows: consecutive windows that confirm a detection. allowed: bool [classes], None for all.
    season: what is rare where and when, None if that does not matter. by_sun: what may be reported by day and by night.
    suppression: what silences others. cascades: whether stages may stop windows.
    """

    hop: int
    threshold: float | FloatArray = THRESHOLD
    min_windows: int = 1
    allowed: NDArray[np.bool_] | None = None
    season: Season | None = None
    by_sun: DayLists | None = None
    suppression: Suppression | None = None
    cascades: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DayLists:
    """Which labels may be reported by day and by night, bool [classes]. place: latitude and longitude."""

    day: NDArray[np.bool_]
    night: NDArray[np.bool_]
    hours: Spans
    place: tuple[float, float] | None

    def allowed(self, moment: datetime) -> NDArray[np.bool_]:
        """Those of a moment."""
        return self.day if within(self.hours, moment, self.place) else self.night


def settings_for(
    card: Card,
    hop_s: float = HOP_S,
    threshold: float = THRESHOLD,
    min_windows: int = 1,
    allowed: NDArray[np.bool_] | None = None,
) -> Settings:
    """Settings in a user's units, checked against the model. Raises UsageError."""
    card.require_sound()
    window_s = card.window_samples / card.sample_rate
    hop = round(hop_s * card.sample_rate) if np.isfinite(hop_s) else 0
    if not 0 < hop <= card.window_samples:
        raise UsageError(f"hop {hop_s:g} s: wanted more than 0 and at most the window, {window_s:g} s")
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold:g}: wanted 0 to 1")
    if min_windows < 1:
        raise UsageError(f"min-windows {min_windows}: wanted 1 or more")
    return Settings(hop, threshold, min_windows, allowed)


def source_settings(source: SourceSettings, settings: DetectionSettings, card: Card) -> Settings:
    """What is a detection in this source, for this model. Raises UsageError, LabelError."""
    result = detection_settings(settings, card)
    if source.day_list is None and source.night_list is None:
        return result
    day, night = (
        allowed_labels(path, card.labels) if path else np.ones(len(card.labels), np.bool_)
        for path in (source.day_list, source.night_list)
    )
    return replace(result, by_sun=DayLists(day, night, source.day or _DAY, settings.coordinates))


def detection_settings(settings: DetectionSettings, card: Card) -> Settings:
    """What is a detection, for this model. Raises UsageError, LabelError; OSError where a file cannot be read."""
    allowed = allowed_labels(settings.species_list, card.labels) if settings.species_list else None
    result = settings_for(card, settings.hop_s, settings.threshold, settings.min_windows, allowed)
    season = season_of(settings.place, card.labels, settings.coordinates)
    result = replace(result, season=season, suppression=suppression_of(settings.suppress, card))
    species = read_thresholds(settings.thresholds_file) if settings.thresholds_file else {}
    species |= settings.thresholds
    if species:
        result = replace(result, threshold=_thresholds(settings.threshold, species, card.labels))
    if settings.cascade:
        result = replace(result, cascades=True)
        _require_bound(result, card)
    return result


def cascade_use(settings: DetectionSettings, song_s: float = 0.0) -> CascadeUse | None:
    """How a cascade is used, None where every window is scored in full. song_s: see `CascadeUse`."""
    return CascadeUse(settings.cascade_audit, song_s) if settings.cascade else None


def _require_bound(settings: Settings, card: Card) -> None:
    """Raise UsageError where something could be a detection of which the card's cascade promises nothing."""
    if card.cascade is None:
        raise UsageError("--cascade: this bundle has none: export it with --cascade")
    thresholds = np.broadcast_to(np.float32(settings.threshold), len(card.labels))
    allowed = thresholds if settings.allowed is None else thresholds[settings.allowed]
    promised = np.float32(card.cascade.threshold)
    lowest = min([*allowed, *([np.float32(settings.suppression.threshold)] if settings.suppression else [])], default=1)
    if lowest < promised:
        raise UsageError(
            f"threshold {lowest:g}: the cascade's bound is for scores of {promised:g} and more: raise it, leave "
            f"--cascade away, or export with --cascade-threshold {lowest:g}"
        )


def _thresholds(default: float, species: Mapping[str, float], labels: Sequence[Label]) -> FloatArray:
    """Every label's threshold, float32 [classes]: that of its code, else of its species, else the default."""
    codes: dict[str, list[int]] = {}
    names: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        codes.setdefault(name_key(label.code), []).append(index)
        names.setdefault(name_key(label.scientific_name), []).append(index)  # several labels may share a species
    thresholds = np.full(len(labels), default, np.float32)
    unknown = next((name for name in species if name_key(name) not in codes.keys() | names.keys() - {""}), None)
    if unknown is not None:
        close = difflib.get_close_matches(unknown.lower(), [*codes, *names], 1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise UsageError(f"threshold of {unknown}: no label of this model has this code or scientific name{hint}")
    for index_of in (names, codes):
        for name, value in species.items():
            thresholds[index_of.get(name_key(name), [])] = value
    return thresholds


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A window's span and its scores, float32 [classes]."""

    window: Window
    scores: FloatArray


Told: TypeAlias = Detection | Rejected | Onset | Stopped | Gap | Summary
Result: TypeAlias = Scored | Told


def reported(result: Result, explain: bool, live: bool) -> Told | None:
    """The result if users are told it, else None: scores never are, and rejected candidates with `explain` only.

    live: of a source that is heard as it comes. Onsets are of those; the detections of a file are all there is.
    """
    match result:
        case Detection() | Gap() | Summary():
            return result
        case Rejected() | Stopped():
            return result if explain else None
        case Onset():
            return result if live else None
        case Scored():
            return None


class Analysis:
    """One source's way from blocks to windows, and from their scores to detections; scoring lies between.

    Files and live sources take it alike. Scores are taken in the order of the windows, on another thread than blocks
    are pushed on if need be. Its wall clock begins with it. when: tells when a sample was heard, None if nobody knows.
    voices: knows where somebody speaks, if nothing that is detected there is to be reported.
    """

    def __init__(
        self,
        card: Card,
        settings: Settings,
        when: Callable[[int], datetime | None] = lambda position: None,
        voices: VoiceWatch | None = None,
    ) -> None:
        self._hop, self._labels = settings.hop, len(card.labels)
        self._settings, self._when, self._voices = settings, when, voices
        self._suppressor = Suppressor(settings.suppression) if settings.suppression else None
        self._judged: object = None  # what the pooler judges by
        self._windower = Windower(card.window_samples, settings.hop, round(MIN_TAIL_S * card.sample_rate))
        longest = round(LONGEST_S * card.sample_rate)
        self._pooler = Pooler(self._thresholds(), settings.min_windows, longest, settings.allowed)
        self._windows = self._detections = 0
        self._stopped = dict.fromkeys(STAGES.values(), 0)
        self._cascades = settings.cascades
        self._taken = self._unscored = 0  # samples: the end of the last window that was taken, and those given up
        self._elsewhere: tuple[int, int, int] | None = None
        self._began = time.monotonic()

    def push(self, block: AudioBlock) -> list[Window]:
        """The windows that a block completes; see `Windower`."""
        return self._windower.push(block)

    @property
    def missing(self) -> int:
        """Samples until the next window is complete."""
        return self._windower.missing

    def finish(self) -> list[Window]:
        """The last window at the end of the source, if it deserves one."""
        return self._windower.finish()

    def take(self, window: Window, scores: FloatArray) -> list[Result]:
        """What is certain with the scores [classes] of the next window."""
        self._judge(window)
        self._windows += 1
        self._taken = window.end
        stage = stage_of(scores)
        if stage:
            self._stopped[STAGES[stage]] += 1
        if self._suppressor:
            self._suppressor.hear(window, scores)
        if self._voices:
            self._voices.hear(window, bool((scores >= self._thresholds()).any()))
        told: list[Result] = [Stopped(window.start, window.end, STAGES[stage])] if stage else []
        pooled = self._counted(self._pooler.push(window, scores, window.start + self._hop))
        return [Scored(window, scores), *told, *pooled]

    def give_up(self, window: Window, reason: str) -> list[Result]:
        """What is over because the next window was not scored, and a gap: what it has and no window before it."""
        gap = Gap(max(window.start, self._taken), window.end, reason)
        self._taken = window.end
        self._unscored += gap.end - gap.start
        if self._voices:
            self._voices.miss(window)
        return [*self._counted(self._pooler.skip(window.start + self._hop)), gap]

    def skip(self, to: int) -> list[Result]:
        """What is over because the audio up to `to` was lost, when all windows before it are taken."""
        return self._counted(self._pooler.skip(to))

    def close(self) -> list[Result]:
        """What is still open when the source has ended, and all windows are taken."""
        return self._counted(self._pooler.finish())

    def change(self, settings: Settings) -> None:
        """Judge by other settings from the next window on; the hop stays."""
        self._settings, self._judged = settings, None
        self._suppressor = Suppressor(settings.suppression) if settings.suppression else None
        self._pooler.change(self._thresholds(), settings.min_windows, settings.allowed)

    def _judge(self, window: Window) -> None:
        """Judge as it is in the week, and at the time of day, of a window."""
        season, by_sun, allowed = self._settings.season, self._settings.by_sun, self._settings.allowed
        if season is None and by_sun is None:
            return
        moment = self._when(window.start)
        listed = by_sun.allowed(moment) if by_sun and moment else None
        judged = (week_of(moment.date()) if season and moment else -1, id(listed))
        if judged == self._judged:
            return
        self._judged, thresholds, min_windows = judged, self._thresholds(), self._settings.min_windows
        confirmation = season.confirmation(moment and moment.date(), thresholds, min_windows) if season else None
        if listed is not None:
            allowed = listed if allowed is None else allowed & listed
        self._pooler.change(thresholds, min_windows, allowed, confirmation)

    def account(self, scored: int, gap: int, tail: int) -> None:
        """Take what became of all samples from who made windows of them elsewhere."""
        self._elsewhere = scored, gap, tail

    def summary(self) -> Summary:
        """The account so far."""
        heard, wall_s = self._windower, time.monotonic() - self._began
        scored, gap, tail = self._elsewhere or (heard.scored, heard.gap, heard.tail)
        scored, gap = scored - self._unscored, gap + self._unscored
        voices = self._voices.dropped if self._voices else None
        stopped = dict(self._stopped) if self._cascades else None
        return Summary(scored, gap, tail, self._windows, self._detections, wall_s, voices, stopped)

    def _thresholds(self) -> FloatArray:
        return np.broadcast_to(np.float32(self._settings.threshold), self._labels)

    def _counted(self, results: list[Pooled]) -> list[Result]:
        told: list[Result] = []
        for result in results:
            kept: Pooled | None = result
            for judge in (self._suppressor, self._voices):
                kept = judge.judge(kept) if judge and kept else kept
            told += [kept] if kept else []
        self._detections += sum(isinstance(result, Detection) for result in told)
        return told


def analyse(blocks: Iterable[AudioBlock], runtime: Runtime, settings: Settings) -> Iterator[Result]:
    """Score the blocks of one source and give its results as they become certain, the Summary last.

    Windows are scored in consecutive groups from the start of the source, as many as the runtime wants at once.
    Raises what the blocks and the runtime raise.
    """
    analysis = Analysis(runtime.card, settings)
    yield from results_of(analysis, score_steps(source_steps(analysis, windows_of(analysis, blocks)), runtime))


def windows_of(analysis: Analysis, blocks: Iterable[AudioBlock]) -> Iterator[Window | Gap]:
    """All windows of a source, and the gaps between them. Raises what the blocks raise, after the last window."""
    end = 0
    try:
        for block in blocks:
            if block.start > end:
                yield from analysis.push(AudioBlock(_NOTHING, block.start))
                yield Gap(end, block.start, block.lost)
            end = block.end
            yield from analysis.push(block)
    except IncompleteAudioError:
        yield from analysis.finish()
        raise
    yield from analysis.finish()


def results_of(analysis: Analysis, steps: Iterable[Step[Any]]) -> Iterator[Result]:
    """What becomes of the scored steps of one source, the Summary last; takes no step after its end.

    A window that could not be scored is a gap. Raises the AudioError that broke the source off, or else the ScoreError
    of the first such window, when all that was heard is told; the Summary too, unless the source could not be read.
    """
    unscored: list[Exception] = []
    for step in steps:
        if step.gap is not None:
            yield from analysis.skip(step.gap.end)
            yield step.gap
            continue
        if step.window is not None:
            if step.scores is not None:
                yield from analysis.take(step.window, step.scores)
            else:
                unscored += [step.error] if step.error else []
                yield from analysis.give_up(step.window, "engine")
            continue
        yield from analysis.close()
        if step.error is None or isinstance(step.error, IncompleteAudioError):
            yield analysis.summary()
        if step.error:
            raise step.error
        if unscored:
            more = f" (and {len(unscored) - 1} more windows)" if len(unscored) > 1 else ""
            raise ScoreError(f"{unscored[0]}{more}") from unscored[0]
        return


def detect(
    path: str | os.PathLike[str],
    runtime: Runtime,
    hop_s: float = HOP_S,
    threshold: float = THRESHOLD,
    min_windows: int = 1,
) -> Iterator[Event]:
    """Give the detections of a recording as events: the objects that `edgebird detect --format jsonl` prints.

    Raises AudioError for a file that cannot be read, UsageError for settings that do not fit. A file of which a part
    is missing gives what is there, then raises IncompleteAudioError; one of which windows cannot be scored ScoreError.
    """
    card = runtime.card
    source = FileSource(Path(path), card.sample_rate)
    events = Events.of(card)
    for result in analyse(prefetch(source.blocks()), runtime, settings_for(card, hop_s, threshold, min_windows)):
        if isinstance(result, Detection):
            yield events.tell(source.origin, result)
