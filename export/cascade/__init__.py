"""`export --cascade`: a gate fitted on recordings, stages cut from the graph, and the bound on what they miss."""
