"""Recorded traffic through the same code as ``serve``, with the log's own clock.

``log`` reads lines, ``prepare`` brings them to what deciding needs, ``analyse`` finds clusters among them; ``feed`` has
``reader`` and ``analyse`` do so in processes of their own where it pays; ``engine`` drives the pipeline, ``tally``
counts, ``output`` and ``report`` write. Each process imports what it needs and no more, so nothing is imported here.
"""
