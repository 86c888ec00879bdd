"""Fields of a tenant, standard and custom: their catalogue, columns and the checks of values.

Belongs here: which fields a tenant has or had, the names and SQL of their columns, values that do
not fit their type, and the comparison of raw values with what views and marts show. Does not belong
here: the views themselves (`marts/views/`), what a tenant's mapping does with a field
(`marts/mapping/`).
"""
