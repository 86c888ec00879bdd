"""The CRM API: objects, lists, rights."""
