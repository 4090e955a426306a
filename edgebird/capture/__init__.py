"""What runs in a capture process: one for each microphone or stream, so that a driver that hangs takes nothing with it.

microphone.py, stream.py   the two programs, `python -m edgebird.capture.microphone` and `.stream`
serve.py                   what both share: their options, their end, their standard output
wire.py                    the messages that go to the station process over a pipe
blocks.py                  how much audio a message holds
devices.py, pulse.py       the microphones that PortAudio and a sound server offer
listing.py                 a third program, which lists them
addresses.py               addresses of streams, without their credentials
opening.py, challenge.py   how a stream is opened, and why that fails
connection.py              how each kind of address is reached
web.py, authorization.py   HTTP, and its passwords
certificates.py, tunnel.py TLS, and RTSP over it
reader.py, hls.py          what is at an address of HTTP, as a file for FFmpeg
playlists.py, frames.py    playlists, and what the first bytes are
links.py                   where one piece of a stream ends and another begins
tracks.py                  which of its audio tracks is taken, and its frames
timeline.py, sender.py     where these belong, as some were lost, and how they are sent on

The parent is in edgebird/live (process.py). Nothing is imported at the top but the standard library: a station with
many sources has as many of these processes.
"""
