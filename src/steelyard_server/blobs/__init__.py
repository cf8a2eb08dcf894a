"""The bytes of blobs: taken in pieces, verified, kept durable under their digest, checked when read.

``store.py`` is what the rest of the server knows. ``uploads.py`` holds the rules of an upload and
``blocks.py`` the checks, both for every store; ``local.py`` keeps bytes on a disk, ``memory.py`` in
this process.
"""
