"""`/integrations/{system}/history`: past runs, and each run with its figures."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
