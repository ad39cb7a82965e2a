from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.machines import azurite
from tests.targets.machines.process import MachineError


def test_a_machine_without_node_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(azurite, "which", lambda _: None)
    with (
        pytest.raises(MachineError, match=r"Not installed: node, npm\. .*apt-get install nodejs npm"),
        azurite.azurite_server(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_shows_the_servers_key() -> None:
    server = azurite.Azurite(server=None, port=1, account="acc", key="c2VjcmV0")  # type: ignore[arg-type]
    assert "c2VjcmV0" not in repr(server)
    assert "AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:1/acc" in server.connection_string()
