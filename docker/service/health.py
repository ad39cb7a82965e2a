"""Whether the process of this container does its work; what is printed goes to whoever looks at the health check.

``health.py`` asks the service whether it can answer; ``health.py follower`` looks when the follower has looked last.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

#: Longer than any download and any pause between attempts.
FOLLOWER_SECONDS = 900


def service() -> int:
    """Ask, past any proxy, and return an exit code."""
    url = os.environ.get("WORKLOAD_FORECAST_SERVICE_URL", "http://127.0.0.1:8080").rstrip("/") + "/health"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4) as answer:
            print(answer.read(4096).decode("utf-8", "replace"))
            return 0
    except urllib.error.HTTPError as refused:
        print(refused.code, refused.read(4096).decode("utf-8", "replace"))
    except OSError as problem:
        print(f"{url} does not answer: {problem}")
    return 1


def follower() -> int:
    """Read the follower's note in the exchange and return an exit code; a registry that is away is no fault of its."""
    path = Path(os.environ.get("WORKLOAD_FORECAST_EXCHANGE", "/data/exchange")) / "follower.json"
    try:
        checked = datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["checked"].replace("Z", "+00:00"))
        if checked.tzinfo is None:
            checked = checked.replace(tzinfo=timezone.utc)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        print(f"{path} does not say when the follower has looked last: {problem}")
        return 1
    seconds = (datetime.now(timezone.utc) - checked).total_seconds()
    print(f"the follower has looked {seconds:.0f} s ago")
    return int(seconds > FOLLOWER_SECONDS)


if __name__ == "__main__":
    sys.exit(follower() if sys.argv[1:] == ["follower"] else service())
