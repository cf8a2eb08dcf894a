"""Backups: a copy of a whole registry that depends on no kind of database, and the way back.

A backup is a directory::

    state/<table>.jsonl        registry state: what the logical digest covers
    derived/<table>.jsonl      what repeats registry state in another form, for searches
    bookkeeping/<table>.jsonl  what changes without an event
    blobs/ab/<hex>             the bytes of blobs
    registry.json              what all of it is; written last

Each table is a file of JSON lines: a header, then a row a line in the order of the key. The digest
of the registry is the sha256 of what ``sha256sum *.jsonl`` prints in ``state``, so it is the same for
every registry with the same state and history. docs/operations.md shows how to use them.
"""
