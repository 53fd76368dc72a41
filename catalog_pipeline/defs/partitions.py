"""The stores as a dynamic partition set."""

import dagster as dg

STORES = "stores"

stores_partitions = dg.DynamicPartitionsDefinition(name=STORES)
