"""What scores are worth: compared with what people heard, made thresholds and probabilities.

`tables`, `heard` and `reviewed` read; `matching`, `curves` and `figures` compute and know no files; `report` and
`written` write.
"""
