"""Files elsewhere: buckets and hosts, through fsspec, as paths that are read in parts and written whole."""
