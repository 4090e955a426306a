"""edgebird.sinks.remote: sinks that tell over the network. None is on unless the settings ask for it.

What the network does never keeps a sink waiting: each hands what it tells to a queue that is bounded, and sends on a
thread of its own. They are a group of sinks of their own (`sinks.groups`): a disk that hangs does not hold them up.
The package of each (an extra) is imported when the sink is made.
"""
