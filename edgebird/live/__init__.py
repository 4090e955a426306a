"""Listening to live sources, for months: capture processes -> rings -> windows -> one runtime -> events -> sinks.

microphone.py, stream.py   capture processes: what they hear goes to their parent over a pipe (wire.py)
process.py                 starts and stops one of them
ring.py                    the last seconds of a source; its writer never waits
clock.py                   tells audio that was lost from a sound card that is a little slow
source.py                  a source that recovers by itself
heap.py                    memory of a process that runs for months
station.py                 all sources through one runtime, every second accounted for
"""
