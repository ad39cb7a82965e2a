from __future__ import annotations

from workload_forecast.markdown import plain, table


def test_a_table_has_a_line_a_row_and_numbers_stand_right() -> None:
    found = table(("what", "number"), [("used", "1,000"), ("read", "-2")])
    assert found.splitlines() == ["| what | number |", "| --- | --: |", "| used | 1,000 |", "| read | -2 |"]
    assert table(("what",), []).splitlines() == ["| what |", "| --- |"]


def test_text_from_the_data_shows_as_it_is() -> None:
    assert plain("a server\n| <b>") == "a server \\| &lt;b>"
    assert plain("[here](http://x)") == "\\[here\\](http://x)"
    assert plain("`*_&\\") == "\\`\\*_&amp;\\\\"
    assert plain("same_hour_mean_7d") == "same_hour_mean_7d"
