"""Benchmarks: each method beside the peer a user would pick instead, interleaved in one process.

`python -m bench` runs them all in a short form, `python -m bench NAME …` some, `--full` at length. Every function
returns plain numbers, so that `gradus prove` can write them down as evidence.
"""
