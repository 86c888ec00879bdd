"""Contact points: how a caller is recognised by phone number, e-mail address or domain.

Belongs here: the one form of each (`values.py`), the table `crm.contact_points` (`upkeep.py`), and
the look-up (`lookup.py`). Does not belong here: the CRM's own search (`sync/lookup.py`), HTTP.
"""
