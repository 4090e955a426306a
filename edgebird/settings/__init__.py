"""edgebird.settings: what can be set, declared once, and the ways to set it.

`model` declares every setting: a field of a frozen dataclass, whose metadata gives its key in a TOML file, its option
on the command line, its check and its help. All else is read off there: `toml` and `build` make settings of files and
options, `keywords` those of `edgebird.listen`, `reference` writes docs/station/station.toml and the table in
docs/station.md, and the command line makes its options of it. What `--help` needs imports the standard library alone,
and so does `model`.
"""
