from __future__ import annotations

import pytest

from workload_forecast.errors import SettingsError
from workload_forecast.storage.gigabytes import gigabytes


def test_a_limit_is_a_number_or_not_given() -> None:
    assert gigabytes("ROOM", {"ROOM": "0.5"}) == 0.5
    assert gigabytes("ROOM", {"ROOM": ""}) is None
    assert gigabytes("ROOM", {}) is None


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "1GB", " "])
def test_anything_else_says_what_to_set(given: str) -> None:
    with pytest.raises(SettingsError, match=f"ROOM='{given}' is not a number of gigabytes: set it to one like 50"):
        gigabytes("ROOM", {"ROOM": given})
