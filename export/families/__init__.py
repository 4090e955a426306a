"""edgebird.export.families: what differs between families of networks; the rest of the exporter is the same for all.

family.py    what the exporter must be told of a family
registry.py  the families there are
folds/       the fold models of BirdCLEF 2023's 4th place (each further family is a package beside it)
"""
