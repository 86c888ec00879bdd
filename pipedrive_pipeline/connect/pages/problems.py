"""`/problems`: everything that needs a person, with what to do."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
