"""`edgebird search`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from edgebird.cli import shell
from edgebird.cli.embed import engine_options, open_engine
from edgebird.cli.options import own_option, parameter, takes

NAME = "search"
_QUERY = Annotated[Path, typer.Argument(metavar="QUERY", help="A recording of what is looked for, some seconds of it.")]


@takes(
    [
        parameter("query", _QUERY, inspect.Parameter.empty),
        own_option("file", Path, inspect.Parameter.empty, "--in", metavar="FILE.parquet", help="What `embed` wrote."),
        *engine_options(),
        own_option("count", int, 10, "--count", metavar="N", help="How many windows.", min=1, max=10000),
        own_option("as_json", bool, False, "--json", help="Print JSON lines."),
    ]
)
def run(**options: Any) -> None:
    """Find the windows of many recordings that sound most like another one, with their times.

    By the embeddings of the same bundle: more like means a smaller angle, 1 is the same. It needs the extra search.

    Example: edgebird search cuckoo.wav --in birds.parquet --bundle birds
    """
    import json
    from dataclasses import asdict

    from edgebird.bundle import open_bundle
    from edgebird.cli.progress import LineWatcher
    from edgebird.detection import Settings
    from edgebird.errors import AudioError
    from edgebird.recordings import Work
    from edgebird.science.embedding import Collected, embed, width_of
    from edgebird.science.nearest import nearest
    from edgebird.sources import find_audio

    bundle, sink = open_bundle(options["bundle"]), Collected()
    width_of(bundle.card)
    recordings, missing = find_audio((options["query"],))
    if missing or len(recordings) != 1:
        raise missing[0] if missing else AudioError(f"{options['query']}: give one recording")
    runtime = open_engine(bundle, options)
    try:
        hop_s = bundle.card.window_samples / bundle.card.sample_rate
        embed(recordings, Work(runtime, Settings(1)), sink, LineWatcher(recordings, detects=False), hop_s)
    finally:
        runtime.close()
    if not sink.vectors:
        raise AudioError(f"{options['query']}: it is too short to be compared")
    for hit in nearest(options["file"], sink.vectors, options["count"], bundle.graph_of("fp32").sha256):
        if options["as_json"]:
            shell.result(json.dumps(asdict(hit), ensure_ascii=False))
        else:
            channel = f", channel {hit.channel}" if hit.channel else ""
            span = f"{hit.start_s:g} to {hit.end_s:g} s"
            shell.result(f"{hit.similarity:.3f}  {hit.source}{channel}  {span}  {hit.time or ''}".rstrip())
