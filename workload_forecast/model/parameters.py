"""What an algorithm is told besides its data."""

from __future__ import annotations

from collections.abc import Mapping

Parameter = int | float | str
Parameters = Mapping[str, Parameter]
