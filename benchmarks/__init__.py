"""edgebird.benchmarks: how fast it is, measured on the product's own path with real recordings."""
