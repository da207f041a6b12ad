"""Maps computed where they are read: exact, and faster where the first step leaves few.

``SRNFPN`` defers layers (``deferred_map``), ``SRNHead`` reads a level's outputs
(``level_outputs``) at the anchors that the first step leaves, ``partial_map`` chooses
what is faster, and ``sparse_layers`` computes layers at some ``cells``.
"""
