"""What `detect` does with an archive: which part of it, what is left of that, and where results are kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from edgebird.archives.journal import WHOLE, Run, Shard, forget_journals
from edgebird.archives.parquet_sink import FORMAT, DatasetOptions, ParquetSink
from edgebird.archives.resuming import JournaledFolder, Left, run_of
from edgebird.archives.spans import SpanOptions
from edgebird.bundle import CARD_FILE, Bundle
from edgebird.conditioning import SoundOptions
from edgebird.errors import UsageError
from edgebird.files import file_sha256
from edgebird.recordings import Outcome, Watcher, Work
from edgebird.remote.path import RemotePath
from edgebird.remote.storage import logins
from edgebird.settings.model import DetectionSettings, OutputSettings
from edgebird.sinks import Sink
from edgebird.sinks.build import keeping_sinks
from edgebird.sinks.folder import FolderSink
from edgebird.sources import FoundAudio


@dataclass(frozen=True, slots=True)
class ArchiveJob:
    """Options for archives.

    resume: do not do again what is done. shard: which part of the recordings. scores: of a dataset, the floor of those
    that are kept, None for none. level: of a dataset, see `DatasetOptions`. on_ray: score on a cluster. address: of it,
    None for one that is started here.
    """

    resume: bool = False
    shard: Shard = WHOLE
    scores: float | None = None
    level: int = 1
    on_ray: bool = False
    address: str | None = None

    def check(self, output: OutputSettings, submission: bool) -> None:
        """Raise UsageError for options that do not fit together."""
        if self.resume and (submission or not output.out):
            raise UsageError("--resume goes on in a folder: give --out DIR, and no --submission")
        if output.format == FORMAT and not output.out:
            raise UsageError("--format parquet makes a folder: give --out DIR")
        if self.shard.count > 1 and submission:
            raise UsageError("--submission is one file: each part of --shard would write over that of the others")
        if isinstance(output.out, RemotePath) and output.relative_paths:
            raise UsageError(f"--relative-paths: nothing is relative to {output.out}")
        if self.on_ray and submission:
            raise UsageError("--on ray sends no scores of all windows: leave --submission away, or take --scores")
        if self.on_ray and output.privacy:
            raise UsageError("--on ray knows no voices: leave --voices away")
        if self.address and not self.on_ray:
            raise UsageError("--ray-address needs --on ray")
        if self.scores is not None and output.format != FORMAT:
            raise UsageError("--scores needs --format parquet: no other format has a place for them")


@dataclass(frozen=True, slots=True)
class Keeping:
    """How results are kept: what of it changes them, and how many channels are told apart."""

    job: ArchiveJob
    detection: DetectionSettings
    output: OutputSettings
    channel: int | None
    sound: SoundOptions | None = None

    @property
    def fingerprints(self) -> bool:
        """Whether the state of each recording is needed."""
        return self.job.resume or self.output.format == FORMAT

    def sinks(self, bundle: Bundle, recordings: Sequence[FoundAudio]) -> list[Sink]:
        """Where results are kept. Raises OutputError where results of two recordings could not be told apart."""
        output, card = self.output, bundle.card
        how = card.sample_rate, True, self.channel is not None, card.calibration is not None
        if output.format == FORMAT and output.out:
            options = DatasetOptions(output.out, self.job.level, self.job.scores, self.job.resume)
            dataset = ParquetSink(options, bundle.card, self._run(bundle), self.job.shard)
            dataset.check_recordings(recordings)
            return [dataset, *keeping_sinks(replace(output, out=None), *how)]
        sinks: list[Sink] = []
        for sink in keeping_sinks(output, *how):
            if isinstance(sink, FolderSink):
                sink.check_recordings(recordings)
                sink = JournaledFolder(sink, self._run(bundle), self.job.shard) if self.job.resume else sink
            sinks.append(sink)
        return sinks

    def left(self, sinks: Sequence[Sink], recordings: Sequence[FoundAudio]) -> Left:
        """The recordings of this part that are not done."""
        shard = self.job.shard
        mine = [found for found in recordings if shard.count == 1 or shard.has(found.relative.as_posix())]
        if self.job.resume:
            for sink in sinks:
                if isinstance(sink, JournaledFolder | ParquetSink):
                    return sink.left(mine)
        return Left(mine)

    def forget(self) -> None:
        """Take away what an earlier run noted as done, where this one does all anew."""
        if self.output.out and not self.job.resume:
            forget_journals(self.output.out, self.output.format or "jsonl")

    def _run(self, bundle: Bundle) -> Run:
        output = self.output
        looks = {"format": output.format, "time_columns": output.time_columns, "relative_paths": output.relative_paths}
        more: dict[str, object] = (
            {"scores": self.job.scores, "recorder_folder": self.job.level} if output.format == FORMAT else {}
        )
        more |= {"channel": self.channel, "sound": self.sound, "privacy": output.privacy}
        return run_of(bundle, self.detection, {**looks, **more})


def process_on_ray(
    keeping: Keeping, bundle: Bundle, recordings: Sequence[FoundAudio], work: Work, told: tuple[list[Sink], Watcher]
) -> Outcome:
    """Have a cluster score recordings. work: its runtime only tells the model. told: sinks, and who is told how far."""
    from edgebird.archives.distributing import floor_of, process_on
    from edgebird.archives.on_ray import RayCluster, WorkerOptions
    from edgebird.archives.pool import Pool

    wanted, job = keeping.detection, keeping.job
    how = SpanOptions(work.settings.hop, floor_of(work.settings, job.scores), work.timezone, work.sound)
    card = file_sha256(bundle.path / CARD_FILE)
    options = WorkerOptions(str(bundle.path.absolute()), card, wanted.runtime, wanted.precision, how, logins())
    with closing(RayCluster(job.address, options)) as cluster:
        return process_on(Pool(cluster), recordings, work, *told)
