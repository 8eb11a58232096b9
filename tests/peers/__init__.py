"""Defects that were seen in caches, locks and limiters on Redis, as cases that run on any of them.

`python -m tests.peers` runs every case against every library and writes the table in
docs/explanation/peers.md. About other libraries it reports, and asserts nothing. That millpond
keeps every promise, and that the common recipe breaks those it is known to break (a case that
cannot fail shows nothing), is asserted by `test_peers.py` in the ordinary suite.

What runs in a library's own environment (adapters, cases, and what they import from here) needs
nothing but the standard library and redis-py: neither millpond nor any test dependency.
"""
