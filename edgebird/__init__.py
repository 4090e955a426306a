"""edgebird: bird-sound fold models as proven ONNX graphs, listening on small computers."""

__version__ = "0.1.0"
