"""What each column of the assets' tables means, as Dagster shows it.

Types come from the schema itself; a column without a sentence here fails a test.
"""

from collections.abc import Mapping

import dagster as dg
from sqlalchemy import JSON, Boolean, Integer, String, Table, Uuid
from sqlalchemy.types import TypeEngine

from catalog_pipeline.catalog import schema
from catalog_pipeline.catalog.types import ExactDecimal, UtcDateTime

# What a column holds, not how SQLite or PostgreSQL stores it.
TYPES: dict[type[object], str] = {
    Boolean: "boolean",
    ExactDecimal: "decimal",
    Integer: "integer",
    JSON: "json",
    String: "string",
    UtcDateTime: "timestamp",
    Uuid: "uuid",
}

PRODUCTS = {
    "product_id": "UUIDv5 of store and external id; the point id of the main image.",
    "store_id": "The store's id in stores.yaml: the partition.",
    "external_id": "The source's id of the product.",
    "sku": "The store's own article number; empty when it has none.",
    "title": "The name as plain text: markup removed, entities decoded.",
    "description": "The description as plain text.",
    "price": "The current price, an exact decimal; empty when the store shows none.",
    "currency": "ISO 4217 code, from the store's settings or from stores.yaml.",
    "image_url": "The main image's address: the first of the product's images.",
    "product_url": "The product's page in the store.",
    "type": "The source's product type, such as simple or variable.",
    "status": "The source's status, such as publish or draft.",
    "visibility": "Where the store shows the product: visible, catalog, search or hidden.",
    "categories": "The categories as the source names them.",
    "tags": "The tags as the source names them.",
    "in_stock": "Whether the store can sell it now, back-orders included.",
    "on_sale": "Whether the store shows a reduced price.",
    "created_at": "When the source says that it was created, in UTC.",
    "updated_at": "When the source says that it was last modified, in UTC.",
    "content_hash": "Digest of all that comes from the source; equal means untouched.",
    "walk_id": "The archived walk that brought this content.",
    "first_walk_id": "The archived walk that first brought the product.",
    "left_out_by": "The rule of stores.yaml that leaves the product out; empty when wanted.",
    "removed_by": "Why the product was removed; empty while it is live.",
    "removed_in": "The walk that removed it.",
}

# In tables of their own: any number to a row.
IMAGES = (
    "json",
    "Id and address of every picture that it lists: the tables product_images and, for those of "
    "variations, variation_images.",
)

PRODUCT_IMAGES = {
    "store_id": "The store's id in stores.yaml: the partition.",
    "image_sha256": "SHA-256 of the picture's bytes: its identity everywhere.",
    "gate_version": "Digest of the thresholds and of the judging code.",
    "accepted": "Whether the picture is good enough to be embedded.",
    "issues": "What was found wrong: issue, measured value and threshold; the first one counts.",
    "judged_at": "When the verdict was reached, in UTC.",
}

EMBEDDINGS = {
    "image_sha256": "SHA-256 of the picture that was embedded.",
    "model_version": "Name, checkpoint hash and preprocessing hash of the model.",
    "part": "The Parquet file that holds the vector.",
    "row": "The vector's row in that file, from 0.",
    "vector_digest": "Digest of the vector; another one after the picture is embedded again.",
}

POINTS = {
    "collection": "The Qdrant collection behind the alias; it carries the model version.",
    "point_id": "The point's UUID: the product's id for a main image, else one of the slot too.",
    "store_id": "The store's id in stores.yaml: the partition, and the tenant in Qdrant.",
    "product_id": "The product that the point stands for.",
    "slot": "The image id of the picture in the product's list; empty for the main one.",
    "image_sha256": "The picture whose vector the point holds.",
    "payload_hash": "Digest of the payload that Qdrant acknowledged.",
}

# What of a WooCommerce product becomes part of a row; the archive keeps all of it.
# https://woocommerce.github.io/woocommerce-rest-api-docs/#product-properties
WOOCOMMERCE = {
    "id": ("integer", "The store's id of the product."),
    "name": ("string", "The name, as HTML."),
    "type": ("string", "simple, variable, grouped, external, or a plug-in's own."),
    "status": ("string", "publish, draft, pending, private, future or trash."),
    "catalog_visibility": ("string", "visible, catalog, search or hidden."),
    "permalink": ("string", "The product's page."),
    "description": ("string", "The description, as HTML."),
    "short_description": ("string", "Stands in where there is no description."),
    "sku": ("string", "The store's own article number."),
    "price": ("string", "The current price, in the store's currency, as text."),
    "on_sale": ("boolean", "Whether the store shows a reduced price."),
    "stock_status": ("string", "instock, outofstock or onbackorder."),
    "categories": ("json", "The product's categories, each with its name and slug."),
    "tags": ("json", "The product's tags, each with its name and slug."),
    "images": ("json", "The pictures in the store's order: id, address, date."),
    "date_created_gmt": ("timestamp", "When the product was created, in UTC."),
    "date_modified_gmt": ("timestamp", "When the product was last modified, in UTC."),
}
# Of its settings, not of a product.
CURRENCY = ("string", "ISO 4217 code that all prices are in, from the store's settings.")

RAW_PRODUCTS = {
    "walk_id": ("string", "Folder of the walk; sorts by time."),
    "name": ("string", "The page's file, products-000001.json.zst and on."),
    "body": ("bytes", "The answer as it came, compressed with Zstandard."),
    "currency": ("string", "ISO 4217 code that the store's prices were in, from the manifest."),
}

ALIAS = {
    "point_id": ("uuid", "The point's id: the product's for a main image."),
    "vector": ("vector", "The picture's vector, L2-normalised float32, compared by cosine."),
    "payload": ("json", "What readers filter by and show: store, title, price, stock, links."),
}


def column_schema(table: Table, sentences: dict[str, str]) -> dg.TableSchema:
    """The table's columns with their types and sentences.

    Raises:
        KeyError: a column has no sentence, or a type without a name.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=_type_name(column.type),
                description=sentences[column.name],
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.nullable), unique=bool(column.unique)
                ),
            )
            for column in table.columns
        ]
    )


def _type_name(kind: TypeEngine[object]) -> str:
    for base in type(kind).__mro__:
        if base in TYPES:
            return TYPES[base]
    raise KeyError(f"no name for the column type {kind!r}")


def given_schema(columns: Mapping[str, tuple[str, str]]) -> dg.TableSchema:
    """Columns that no table of the database holds, from their types and sentences."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, sentence) for name, (kind, sentence) in columns.items()]
    )


WOOCOMMERCE_SCHEMA = given_schema(WOOCOMMERCE | {"currency": CURRENCY})
RAW_PRODUCTS_SCHEMA = given_schema(
    RAW_PRODUCTS | {f"body.{name}": of for name, of in WOOCOMMERCE.items()}
)
ALIAS_SCHEMA = given_schema(ALIAS)
PRODUCTS_SCHEMA = dg.TableSchema(
    [
        *column_schema(schema.products, PRODUCTS).columns,
        *given_schema({"images": IMAGES}).columns,
    ]
)
PRODUCT_IMAGES_SCHEMA = column_schema(schema.image_verdicts, PRODUCT_IMAGES)
EMBEDDINGS_SCHEMA = column_schema(schema.embeddings, EMBEDDINGS)
POINTS_SCHEMA = column_schema(schema.points, POINTS)
