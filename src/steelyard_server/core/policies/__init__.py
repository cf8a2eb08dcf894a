"""Checks of policies: expressions in CEL over what is known of a candidate, its incumbent and their model.

Nothing here reads a database: `facts` says what a check may look at, `expressions` compiles a check and
runs it on facts, `findings` is what comes out, `formats` recognises files by how they begin.
"""
