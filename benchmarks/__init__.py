"""Benchmarks beside peers; each is run in fresh processes, interleaved, by one command."""
