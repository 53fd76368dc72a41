"""From a store's API to rows: walk into the raw archive, then archive into the products table."""
