"""The routes of API v2 and v1, as data: parameters, bodies, answers.

Belongs here: what one request may say and what it returns. Does not belong here: the company's
data (``pipedrive.world``), admission, prices and limits (``pipedrive.service``).
"""
