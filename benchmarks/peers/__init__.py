"""One file per peer, run in an environment of its own."""
