"""What can be read: tables folded from events, and the queries on them.

Every table's module is imported here, so that the metadata is whole whoever makes the tables.
"""

from projections import fold, releases

__all__ = ["fold", "releases"]
