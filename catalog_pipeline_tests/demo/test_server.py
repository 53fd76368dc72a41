"""The server itself: connections, pictures, counters, identity and where it listens."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from catalog_pipeline.demo import (
    ATELIER,
    SampleStores,
    StoredFile,
    WooStore,
    fingerprint,
    running_at,
    write_stores_file,
)
from catalog_pipeline.demo.__main__ import main
from catalog_pipeline_tests.demo.conftest import API


def test_it_listens_on_loopback_only(samples: SampleStores) -> None:
    listening = {
        connection.laddr.ip
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == samples.port
    }
    assert listening == {"127.0.0.1"}


def test_one_connection_serves_many_requests(samples: SampleStores, store: WooStore) -> None:
    with socket.create_connection(("127.0.0.1", samples.port), timeout=5) as connection:
        peer = connection.getsockname()
        for _ in range(3):
            connection.sendall(b"GET /atelier/ HTTP/1.1\r\nHost: shop\r\n\r\n")
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert connection.getsockname() == peer
    assert store.traffic.count("html") == 3


def test_closing_ends_open_connections() -> None:
    samples = SampleStores(products_per_store=1).open()
    with httpx.Client(base_url=samples.base_url, trust_env=False) as client:
        assert client.get("/__demo__").status_code == 200
        port = samples.port
        samples.close()
        with pytest.raises(httpx.TransportError):
            client.get("/__demo__")
    assert running_at(port, timeout=0.5) is None
    samples.close()
    with pytest.raises(RuntimeError, match="not open"):
        _ = samples.port


def test_counters_tell_pictures_from_pages(store: WooStore, client: httpx.Client) -> None:
    product_id = next(i for i in store.product_ids("publish") if store.spec(i).images)
    src = client.get(f"{API}/products/{product_id}").json()["images"][0]["src"]
    etag = client.get(src).headers["ETag"]
    client.get(src, headers={"If-None-Match": etag})
    client.head(src)
    client.get(f"{API}/products?per_page=1", headers={"User-Agent": "tester/1"})
    assert store.traffic.images_served == 1
    assert store.traffic.images_not_modified == 1
    assert store.traffic.totals() == {
        "image 200": 2,
        "image 304": 1,
        "product 200": 1,
        "products 200": 1,
    }
    assert store.traffic.last[-1].headers["User-Agent"] == "tester/1"
    store.traffic.reset()
    assert store.traffic.count() == 0


def test_sized_copies_are_served(store: WooStore, client: httpx.Client) -> None:
    product_id = next(
        i
        for i in store.product_ids("publish")
        if not store.catalogue.role(store.catalogue.index_of(i) or 0)
    )
    image = client.get(f"{API}/products/{product_id}").json()["images"][0]
    small = client.get(image["srcset"].split(", ")[-1].split(" ")[0].replace("100x100", "32x32"))
    with Image.open(io.BytesIO(small.content)) as opened:
        assert opened.size == (32, 32)


def test_pictures_may_be_drawn_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    with SampleStores(products_per_store=8, picture_size=64) as samples:
        samples.draw_pictures()

        def drawn(*_: object) -> None:
            raise AssertionError("drawn again")

        monkeypatch.setattr("catalog_pipeline.demo.media.picture", drawn)
        for store in samples.stores.values():
            sources = [i.path for p in store.product_ids() for i in store.spec(p).images]
            with httpx.Client(base_url=store.url, trust_env=False) as client:
                assert {client.get(path).status_code for path in sources} <= {200, 404}
            assert store.traffic.images_served > 0


def test_real_files_are_served_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"bytes of a photograph")
    with SampleStores(products_per_store=0, profiles=[ATELIER]) as samples:
        store = samples.stores["atelier"]
        product_id = store.add(name="Photographed", media=StoredFile(path))
        src = store.product(product_id)["images"][0]["src"]  # type: ignore[index]
        assert httpx.get(src, trust_env=False).content == b"bytes of a photograph"
        path.unlink()
        assert samples.stores["atelier"].product_ids() == [product_id]


def test_urls_and_answers_are_the_same_after_a_restart() -> None:
    with SampleStores(picture_size=64, products_per_store=30) as first:
        port = first.port
        store = first.stores["nordhavn"]
        before = [store.product(i) for i in store.product_ids()]
    with SampleStores(picture_size=64, products_per_store=30, port=port) as again:
        store = again.stores["nordhavn"]
        assert [store.product(i) for i in store.product_ids()] == before
        assert store.url == f"http://127.0.0.1:{port}/nordhavn"


def test_identity_tells_these_stores_from_others(samples: SampleStores) -> None:
    identity = running_at(samples.port)
    assert identity is not None
    assert identity["fingerprint"] == samples.fingerprint == fingerprint(picture_size=64)
    assert fingerprint(picture_size=64) != fingerprint()
    assert fingerprint(seed=1) != fingerprint(seed=2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert running_at(silent.getsockname()[1], timeout=0.3) is None


def test_the_stores_file_names_variables_and_no_secret(
    tmp_path: Path, samples: SampleStores
) -> None:
    path = tmp_path / "stores.yaml"
    write_stores_file(path, samples.base_url)
    text = path.read_text("utf-8")
    assert samples.secret not in text
    assert samples.key not in text
    stores = yaml.safe_load(text)["stores"]
    assert [store["id"] for store in stores] == ["atelier", "nordhavn"]
    assert stores[0] == {
        "id": "atelier",
        "source": "woocommerce",
        "url": samples.stores["atelier"].url,
        "consumer_key": {"env": "DEMO_CONSUMER_KEY"},
        "consumer_secret": {"env": "DEMO_CONSUMER_SECRET"},
        "allow_private_addresses": True,
        "image_ports": [samples.port],
        "poll_every": "1m",
    }


def test_serving_on_a_taken_port_says_so(samples: SampleStores) -> None:
    result = CliRunner().invoke(main, ["serve", "--port", str(samples.port), "--products", "1"])
    assert result.exit_code == 1
    assert f"port {samples.port} is not free" in result.output


def test_the_stores_run_as_a_program_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "stores.yaml"
    command = [sys.executable, "-m", "catalog_pipeline.demo", "serve", "--port", "0"]
    command += ["--products", "5", "--size", "64", "--stores-file", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(6)]
            assert lines[-1] == f"Wrote {path}\n"
            url = yaml.safe_load(path.read_text("utf-8"))["stores"][0]["url"]
            key, secret = (line.strip().partition("=")[2] for line in lines[2:4])
            answer = httpx.get(f"{url}{API}/products", auth=(key, secret), trust_env=False)
            assert len(answer.json()) == 5 - answer.text.count('"trash"')
            identity = running_at(httpx.URL(url).port or 0)
            assert identity is not None
            assert identity["fingerprint"] == fingerprint(products_per_store=5, picture_size=64)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
