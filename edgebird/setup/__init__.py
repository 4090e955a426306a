"""edgebird.setup: from five answers to the files of a station.

`answers` is what a person said, and the settings that this becomes. `home` is where the files of a station are, as a
service of the system or of a user. `files` are those that are to be written: shown first, read back, then written.
"""
