"""A mapping of the recipe whose keys are known."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A mapping whose keys are known, each of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
