"""All that touches dlt, public or inner: its Postgres destination, resources, load packages.

Belongs here: subclasses of dlt's classes, the file that COPY reads, the state of dlt's staging
tables, the load of a package. Does not belong here: what surrounds a load (`raw.py`), which imports
this package with its first load: dlt takes a second to import, and a quiet sync loads nothing.
"""
