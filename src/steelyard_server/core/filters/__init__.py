"""Finding versions and models: a filter and an order as text, to one statement on the right index.

``grammar`` reads text into the values of ``tree``; ``fields`` says what each field is, ``kinds``
how it compares, ``scope`` how rows of other tables are looked up; ``conditions`` turns a tree into
a condition, ``orders`` an order into keys, and ``search`` runs both. What a filter means stands in
docs/filters.md; that both databases agree is tested against a plain evaluator.
"""
