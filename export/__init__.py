"""edgebird.export: checkpoints become bundles. Needs the extra `export` (torch, onnx); nothing else here does."""
