"""Scripts that make the tables of README.md and docs/: `python -m edgebird.benchmarks.studies.NAME`."""
