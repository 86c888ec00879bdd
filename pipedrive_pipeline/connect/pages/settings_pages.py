"""`/integrations/{system}/settings`: when a system is synced, what is read, who is alerted."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
