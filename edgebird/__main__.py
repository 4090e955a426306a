"""`python -m edgebird` is `edgebird`."""

from edgebird.cli import main

main()
