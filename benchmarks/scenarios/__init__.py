"""edgebird.benchmarks.scenarios: what is measured, one file each.

single    one window (or --batch) after another: latency
offline   the same over batch sizes: throughput
multi     streams whose windows are due together, and how many of them this machine carries
listen    real-time audio through the whole streaming path: how late events are
"""

SCENARIOS = ("single", "multi", "offline", "listen")
