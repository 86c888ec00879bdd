"""The certificates that clients of tests trust."""

from __future__ import annotations

import ssl
from typing import Final

TLS: Final = ssl.create_default_context()  # once: reading the certificates takes 20 ms
