"""Where the lineage begins and where it ends: assets that others make and read, and no run of ours.

One for each kind of source, and one for the alias. What is made in between is in the modules named
after it.
"""

import dagster as dg

from catalog_pipeline.defs.columns import ALIAS_SCHEMA, WOOCOMMERCE_SCHEMA
from catalog_pipeline.defs.lineage import ALIAS_LINEAGE, POINTS, STORES
from catalog_pipeline.defs.partitions import stores_partitions

OWNERS = ["team:catalogue"]

woocommerce_stores = dg.AssetSpec(
    STORES,
    partitions_def=stores_partitions,
    group_name="stores",
    owners=OWNERS,
    kinds={"woocommerce", "wordpress"},
    tags={"stage": "source"},
    metadata={
        "dagster/uri": "https://<store>/wp-json/wc/v3/products",
        "dagster/column_schema": WOOCOMMERCE_SCHEMA,
    },
    description="""The products that each store sells, where people edit them: its own WooCommerce.

Everything below begins here. A store is a partition; stores.yaml says which there are, and where
each keeps its key. Nothing is ever written to a store.

**When it fails**: `catalog stores check STORE` asks the store what `raw_products` would ask, and
says what it answered. A wrong key, a closed API or a firewall is mended by whoever runs the store.
""",
)

# By the `source` of a store.
SOURCES = {"woocommerce": woocommerce_stores}

search_alias = dg.AssetSpec(
    "search_alias",
    deps=[POINTS],
    group_name="vectors",
    owners=OWNERS,
    kinds={"qdrant"},
    tags={"stage": "serve"},
    metadata={
        "dagster/uri": "qdrant://$CATALOG_COLLECTION",
        "dagster/column_schema": ALIAS_SCHEMA,
        "dagster/column_lineage": ALIAS_LINEAGE,
    },
    description="""The name that readers search by: the alias CATALOG_COLLECTION, over all stores.

It stands for one collection, whose name carries the model that made its vectors. It is made with
the first collection, and no sync moves it: `alias_target` on `qdrant_points` says where it leads.

**When it fails**: `catalog search --text dress` asks it as a reader does. While `alias_target` is
another collection than the one that is loaded, readers see the vectors of another model.
""",
)

EXTERNAL = [*SOURCES.values(), search_alias]
