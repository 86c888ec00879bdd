"""`/integrations/{system}/mapping`: which field of the source fills which column."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
