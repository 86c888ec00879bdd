"""Everything that depends on how dlt works inside: its Postgres destination, its resources.

Belongs here: subclasses of dlt's classes, the file that COPY reads, the state of dlt's staging
tables. Does not belong here: the load itself, which uses dlt's public interface (`raw.py`).
"""
