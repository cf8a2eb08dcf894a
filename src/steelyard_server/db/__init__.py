"""The database: its tables, the two engines that hold them, and the way from one to the other.

``database.py`` is what the rest of the server knows; ``sqlite.py`` and ``postgresql.py`` keep its
promises, ``tables.py`` says what is stored, ``statements.py`` turns SQLAlchemy statements into text.
"""
