"""The whole way, from a served CRM to the rows that people read."""
