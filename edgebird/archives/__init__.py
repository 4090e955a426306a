"""Archives: seasons of recordings, gone on with where a run ended, kept as a dataset, and shared by machines."""
