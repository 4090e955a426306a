"""`edgebird serve`: a station's pages and API, in a process of its own that only reads what the station writes.

Needs the extra `web`. Whatever happens to this process, listening goes on: it opens the database read-only, has a
database of its own for reviews, and runs at a lower priority.
"""
