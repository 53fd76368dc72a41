"""`catalog ui`: somebody's own stores in the Dagster UI, served until it is told to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from catalog_pipeline.cli.main import main
from catalog_pipeline_tests.ui.servers import ask, free_port

pytestmark = pytest.mark.end_to_end

START_SECONDS = 100
STORES = """
stores:
  - id: atelier
    url: https://shop.example.com
    consumer_key: {env: ATELIER_KEY}
    consumer_secret: {env: ATELIER_SECRET}
"""
PARTITIONS = """{
  assetNodeOrError(assetKey: {path: ["raw_products"]}) {
    ... on AssetNode { partitionKeys }
  }
}"""


@pytest.mark.timeout(2 * START_SECONDS)
def test_the_stores_of_the_file_are_partitions_in_the_ui(tmp_path: Path) -> None:
    (tmp_path / "stores.yaml").write_text(STORES)
    port = free_port()
    log = tmp_path / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("catalog"), "ui", "--no-daemon", "--port", str(port)],
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"},
        )
    try:
        found: object = None
        deadline = time.monotonic() + START_SECONDS
        while found != ["atelier"]:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{found}\n{log.read_text()}"
            time.sleep(0.5)
            try:
                found = ask(f"http://127.0.0.1:{port}", PARTITIONS)["assetNodeOrError"].get(
                    "partitionKeys"
                )
            except httpx.TransportError:
                continue
        assert "dagster-daemon" not in log.read_text()
    finally:
        process.terminate()
        process.wait(60)
    assert "Stopping." in log.read_text()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False)


def test_a_wrong_file_is_refused_before_anything_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stores.yaml").write_text("stores: 3")
    found = CliRunner().invoke(main, ["ui"])
    assert found.exit_code == 2
    assert "stores.yaml" in found.output
    assert not (tmp_path / ".catalog").exists()
