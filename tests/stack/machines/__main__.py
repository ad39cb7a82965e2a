"""The stack for work by hand: ``python -m tests.stack.machines FOLDER``; it stops with Ctrl-C or SIGTERM.

``FOLDER/server.env`` and ``FOLDER/client.env`` hold what the server was told and what a client needs, for ``source``.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.stack.machines.postgres import postgres_server
from tests.stack.machines.tracking import VARIABLES, Parts, tracking_server
from tests.storage.machines.azurite import azurite_server
from tests.targets.machines.process import short_folder


def write(path: Path, environment: Mapping[str, str]) -> None:
    """Only what is the stack's own; nobody else may read it."""
    path.touch(mode=0o600)
    own = {name: value for name, value in environment.items() if name.startswith(VARIABLES)}
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in own.items()))


def main(folder: Path) -> None:
    # a shell's background job is deaf to Ctrl-C; both ways of ending go through the same clearing up
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        short_folder("postgres") as one,
        short_folder("azurite") as two,
        short_folder("tracking") as three,
        postgres_server(one) as postgres,
        azurite_server(two) as azurite,
        tracking_server(Parts.new(postgres, azurite), three) as tracking,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "server.env", tracking.server.environment or {})
        write(folder / "client.env", tracking.client())
        print(f"{tracking.uri} as chief; see {folder}/client.env", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
