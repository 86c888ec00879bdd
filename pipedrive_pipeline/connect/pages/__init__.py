"""HTML pages: their routes, templates and static files. No page has a script.

Belongs here: everything that a person sees in a browser. Does not belong here: the OAuth steps
(`consent`), which only show pages from here.
"""
