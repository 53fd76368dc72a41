"""Keeps the products of many WooCommerce stores in step with one Qdrant collection."""
