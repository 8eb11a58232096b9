"""Entries as each header version wrote them: what once was readable stays so.

`version_1.json` and its successors are never rewritten. A new header version gets a file of its
own: `python -m tests.entries.write`.
"""
