"""What a long run tells the person who waits: stage, percentage, elapsed time; and the durations for the metrics."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: Seconds between two signs of life: on a terminal the line is rewritten, in a log a new one is added.
_TERMINAL_SECONDS, _LOG_SECONDS = 0.5, 10.0


class Progress:
    """Prints one line per stage when it begins to take long and when it ends; remembers ``durations`` in seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.durations: dict[str, float] = {}

    def say(self, message: str) -> None:
        """Print one line."""
        print(message, file=self._stream, flush=True)

    @contextmanager
    def stage(self, name: str, percent: Callable[[], float | None] = lambda: None) -> Iterator[Stage]:
        """Time a stage and show that it is alive.

        Args:
            name: ``step: what``; the metric is named after it.
            percent: asked from another thread; returns 0 to 100, or None if unknown.
        """
        stage, started, over = Stage(), time.monotonic(), threading.Event()
        ticker = threading.Thread(target=self._tick, args=(name, stage, percent, started, over), daemon=True)
        ticker.start()
        try:
            yield stage
        finally:
            over.set()
            ticker.join()
        seconds = time.monotonic() - started
        self.durations[name] = self.durations.get(name, 0.0) + seconds
        self._line(f"{name} {stage.detail}".rstrip(), f"done in {seconds:.1f} s", last=True)

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Bar]:
        """Show how many of some alike pieces of work are done: a bar on a terminal, elsewhere one line a piece."""
        if not self._stream.isatty():
            yield Bar(lambda line, _: self.say(f"{name}: {line}"))
            return
        from tqdm import tqdm

        over = threading.Event()
        # Some terminals do not know their size: tqdm, left to ask, would show nothing there.
        columns, lines = shutil.get_terminal_size()
        with tqdm(total=total, desc=name, file=self._stream, ncols=columns, nrows=lines) as shown:

            def advance(_: str, state: str) -> None:
                shown.set_postfix_str(state, refresh=False)
                shown.update()

            def tick() -> None:
                while not over.wait(_TERMINAL_SECONDS):
                    shown.refresh()

            ticker = threading.Thread(target=tick, daemon=True)
            ticker.start()
            try:
                yield Bar(advance)
            finally:
                over.set()
                ticker.join()

    def _tick(
        self, name: str, stage: Stage, percent: Callable[[], float | None], started: float, over: threading.Event
    ) -> None:
        interval = _TERMINAL_SECONDS if self._stream.isatty() else _LOG_SECONDS
        while not over.wait(interval):
            done = percent()
            share = "" if done is None else f"{done:3.0f} % "
            self._line(f"{name} {stage.detail}".rstrip(), f"{share}{time.monotonic() - started:.0f} s", last=False)

    def _line(self, what: str, state: str, *, last: bool) -> None:
        text = f"  {what} … {state}"
        if self._stream.isatty():
            text = f"\r\x1b[2K{text}"
        print(text, end="\n" if last or not self._stream.isatty() else "", file=self._stream, flush=True)


class Stage:
    """The running stage; set ``detail`` to say more than its name, for example the rows so far.

    Its text is asked for again each time that it is shown.
    """

    detail: object = ""


class Bar:
    """A running :meth:`Progress.bar`."""

    def __init__(self, advance: Callable[[str, str], None]) -> None:
        self._advance = advance

    def advance(self, line: str, state: str) -> None:
        """Say that a piece is done: ``line`` tells all of it, ``state`` what is worth showing beside the bar."""
        self._advance(line, state)
