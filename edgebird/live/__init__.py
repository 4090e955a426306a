"""The station process: captured audio -> rings -> windows -> one runtime -> events -> sinks, for months.

In the thread of a source, one each:
    captured.py      a capture process whose audio goes into a ring, started again whatever happens to it
    process.py       starts, reads and ends one capture process
    stretch.py       audio between two losses: resampled, timed
    clock.py         tells audio that was lost from a sound card that is a little slow
    pulled.py        files and standard input, which wait for their reader
Between the threads:
    ring.py          the last seconds of a source; its writer never waits
    feed.py          what the station asks of a source, live or not
In the scoring thread, one for all:
    station.py       windows of all sources through one runtime, every second accounted for
    listener.py      windows, events and the account of one source
    hush.py          when nothing of a source is reported
    conditioning.py  gain and filters of a source
    levels.py        tells silent, clipping and quiet sources
    history.py       the last seconds of sound, for clips, the screen and other programs
    figures.py       how the station is doing
Before and around them:
    assembly.py      from a station's settings to its bundle, engine, sources and sinks
    first_proof.py   whether the engine scores as the original did
    reload.py        reads the settings again while it listens
    listening.py     `edgebird.listen`: a station on a thread, for a program that takes its events
    event_queue.py   the events on their way there
    microphones.py   the microphones of this machine, and how loud they are
    broadcast.py     the live socket: tells other programs what happens now
    socket_file.py   the file of that socket
    watch.py         reads it, in another program
    columns.py       the spectrogram that is made there
    service.py       systemd and the memory of a process that runs for months

What runs in a capture process is in edgebird/capture.
"""
