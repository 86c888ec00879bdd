"""Products and their variations, as data.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Children, Column, Cost, Entity
from pipedrive_pipeline.connectors.pipedrive.columns import (
    BIGINT,
    BOOLEAN,
    CUSTOM_FIELDS,
    NUMERIC,
    OWNER_ID,
    PRICES,
    STAMPS,
    TEXT,
    VISIBLE_TO,
)
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    BY_UPDATE_TIME,
    GET_TOKENS,
    PAGE_LIMIT,
    V2_LIST,
    V2_LIST_TOKENS,
    endpoint,
)

PRODUCTS_SCOPES = ("products:read", "products:full")

PRODUCTS = Entity(
    name="products",
    label="Products",
    description="Products as Pipedrive sent them, with one price for each currency.",
    key=Column("id", BIGINT, "Pipedrive's number of the product, unique in its company."),
    columns=(
        Column("name", TEXT, "Name; not unique."),
        Column("code", TEXT, "Code of the product, as the company gave it."),
        Column("description", TEXT, "Description of the product."),
        Column("unit", TEXT, "Unit in which it is sold."),
        Column("tax", NUMERIC, "Tax in percent."),
        Column("category", TEXT, "Option id of the built-in field category."),
        OWNER_ID,
        *STAMPS,
        Column("is_deleted", BOOLEAN, "False in every listed product."),
        Column("is_linkable", BOOLEAN, "Whether it can be added to deals."),
        VISIBLE_TO,
        Column("billing_frequency", TEXT, "one-time, or how often it is billed."),
        Column("billing_frequency_cycles", BIGINT, "How many times it is billed."),
        PRICES,
        CUSTOM_FIELDS,
    ),
    read=BY_UPDATE_TIME,
    cost=V2_LIST,
    defined_by="product_fields",
    scopes=PRODUCTS_SCOPES,
)

PRODUCT_VARIATIONS = Entity(
    name="product_variations",
    label="Product variations",
    description="Variations of products; those of a product are read again when it changed.",
    key=Column("id", BIGINT, "Pipedrive's number of the variation, unique in its company."),
    columns=(
        Column("product_id", BIGINT, "Product of the variation."),
        Column("name", TEXT, "Name of the variation."),
        PRICES,
    ),
    read=Children("products", "product_id", batch=1),
    cost=Cost(V2_LIST_TOKENS, PAGE_LIMIT, tokens_unchanged=0),
    scopes=PRODUCTS_SCOPES,
    is_on_by_default=False,
)

PRODUCT_ENDPOINTS = (
    endpoint(
        PRODUCTS,
        "/api/v2/products",
        "cursor",
        takes_ids=True,
        get_tokens=GET_TOKENS,
        has_until=False,
        event="product",
    ),
    endpoint(PRODUCT_VARIATIONS, "/api/v2/products/{parent}/variations", "cursor"),
)
