"""What runs in a capture process: one for each microphone or stream, so that a driver that hangs takes nothing with it.

microphone.py, stream.py   the two programs, `python -m edgebird.capture.microphone` and `.stream`
serve.py                   what both share: their options, their end, their standard output
wire.py                    the messages that go to the station process over a pipe
blocks.py                  how much audio a message holds
devices.py, pulse.py       the microphones that PortAudio and a sound server offer
listing.py                 a third program, which lists them
addresses.py               addresses of streams, without their credentials
opening.py                 how a stream is opened, which audio is taken, why that fails
timeline.py, sender.py     where the decoded audio of a stream belongs, and how it is sent on

The parent is in edgebird/live (process.py). Nothing is imported at the top but the standard library: a station with
many sources has as many of these processes.
"""
