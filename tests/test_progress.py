from __future__ import annotations

import io

import pytest

from workload_forecast.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream: io.StringIO) -> str:
    with Progress(stream).bar("tune", 3) as bar:
        for number in range(3):
            bar.advance(f"trial {number}: 0.5", f"best 0.{number}")
    return stream.getvalue()


def test_without_a_terminal_there_is_a_line_for_each_piece_and_no_bar() -> None:
    assert show(io.StringIO()) == "tune: trial 0: 0.5\ntune: trial 1: 0.5\ntune: trial 2: 0.5\n"


def test_on_a_terminal_there_is_a_bar_with_the_best_so_far() -> None:
    shown = show(Terminal())

    last = shown.rstrip("\n").split("\r")[-1]
    assert "tune: 100%" in last
    assert "3/3" in last
    assert "best 0.2" in last
    assert "trial" not in shown


def test_a_failure_ends_the_bar() -> None:
    stream = Terminal()
    with pytest.raises(ValueError, match="broken"), Progress(stream).bar("tune", 3):
        raise ValueError("broken")
    assert stream.getvalue().endswith("\n")
