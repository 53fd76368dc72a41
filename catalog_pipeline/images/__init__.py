"""Product pictures: fetched, kept by content, measured and judged. Vectors are not made here."""
