"""edgebird.export.adopt: a published model becomes a bundle, proven against an independent reference. Without torch.

adopter.py    the whole way from file to bundle; adopted.py: what it has read before it is proven
families.py   what published models are, as far as their files do not say it
signature.py  inputs, outputs and metadata of a graph; which family that is
described.py  what no family fits, described by its user in a TOML file
labels.py     the lists of classes that come with these models
graphs.py     the graph as it is written: named outputs alone, its parts named
reference.py  who computes the golden scores: LiteRT, or ONNX Runtime without optimisation
evidence.py   golden windows and places, and which of them the reference itself holds
precisions.py graphs of lower precision beside it
tflite/       .tflite -> ONNX
"""
