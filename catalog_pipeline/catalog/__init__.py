"""The database: what is known about products, images, vectors and points, and what is done."""
