"""Sample stores: generated WooCommerce shops behind a real HTTP server on loopback.

The demo, the tests and the benchmarks sync these stores as they would any other. Nothing in the
pipeline knows of them, and nothing here knows of the pipeline.
"""

from catalog_pipeline.demo.faults import Fault, Faults
from catalog_pipeline.demo.garments import Attributes, caption, captions
from catalog_pipeline.demo.media import Bytes, Drawing, Flaw, Media, StoredFile
from catalog_pipeline.demo.profiles import ATELIER, NORDHAVN, StoreProfile
from catalog_pipeline.demo.samples import SampleStores, fingerprint, running_at
from catalog_pipeline.demo.store import WooStore
from catalog_pipeline.demo.stores_file import write_stores_file

__all__ = [
    "ATELIER",
    "NORDHAVN",
    "Attributes",
    "Bytes",
    "Drawing",
    "Fault",
    "Faults",
    "Flaw",
    "Media",
    "SampleStores",
    "StoreProfile",
    "StoredFile",
    "WooStore",
    "caption",
    "captions",
    "fingerprint",
    "running_at",
    "write_stores_file",
]
