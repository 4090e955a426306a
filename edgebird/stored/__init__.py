"""What a station has stored, asked again: its database, read by others while it is written.

Times are those that the station wrote, in the local time of their own offset: the first ten characters are the day.
"""
