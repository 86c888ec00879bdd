"""HTML pages: everything that a person sees in a browser.

| module | content |
|---|---|
| `routes` | the routers of all pages |
| `visitors` | who looks: the browser's session and the tenant |
| `rendering` | a template with its values, as an answer |
| `display` | numbers, times and texts in the reader's language and zone |
| `texts` | the catalogue of texts: `texts/<language>/<group>.toml` |
| `templates/ui.html` | the parts that pages are made of |
| `static` | one stylesheet, the icon, one vendored htmx file |

Every page works without JavaScript; htmx only loads parts of a page again while something runs.
Belongs here: routes of pages, templates, texts. Does not belong here: the steps of a consent
(`consent`), and what a button does, which the API does, too.
"""
