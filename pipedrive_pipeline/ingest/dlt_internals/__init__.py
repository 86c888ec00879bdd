"""All that imports dlt: its Postgres destination, the jobs of a load, load packages.

Belongs here: subclasses of dlt's classes, the file that COPY reads, the load of a package. Does not
belong here: what surrounds a load (`raw.py`), which imports this package with its first load: dlt
takes a second to import, and a quiet sync loads nothing.
"""
