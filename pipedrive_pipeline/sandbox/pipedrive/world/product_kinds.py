"""Products and their variations, as data."""

from __future__ import annotations

from pipedrive_pipeline.sandbox.pipedrive.world.kind import BuiltIn, Prices, RecordKind

READ = ("products:read", "products:full")
WRITE = ("products:full",)
BILLING_FREQUENCIES = (
    "one-time", "annually", "semi-annually", "quarterly", "monthly", "weekly",
)  # fmt: skip
CATEGORIES = ("Geräte", "Dienstleistung", "Ersatzteile")

PRODUCTS = RecordKind(
    name="products",
    singular="product",
    path="/api/v2/products",
    read=READ,
    write=WRITE,
    defaults={
        "name": "",
        "code": None,
        "description": None,
        "unit": None,
        "tax": 0,
        "category": None,
        "is_linkable": True,
        "visible_to": 3,
        "owner_id": None,
        "billing_frequency": "one-time",
        "billing_frequency_cycles": None,
        "prices": [],
    },
    built_ins=(
        BuiltIn("name", "Name", "varchar"),
        BuiltIn("code", "Product code", "varchar"),
        BuiltIn("description", "Description", "text"),
        BuiltIn("unit", "Unit", "varchar"),
        BuiltIn("tax", "Tax", "double"),
        BuiltIn("category", "Category", "enum", CATEGORIES),
        BuiltIn("is_linkable", "Active", "boolean"),
        BuiltIn("visible_to", "Visible to", "visible_to", ("1", "3")),
        BuiltIn("owner_id", "Owner", "user"),
        BuiltIn("billing_frequency", "Billing frequency", "billing_frequency"),
        BuiltIn("prices", "Prices", "price_list"),
        BuiltIn("add_time", "Created", "date"),
        BuiltIn("update_time", "Update time", "date"),
    ),
    first_field_id=16_000,
    fields_of="products",
    field_write=("product-fields:full", "admin"),
    writable={
        "name": "text",
        "code": "text?",
        "description": "text?",
        "unit": "text?",
        "tax": "number",
        "category": "category?",
        "is_linkable": "flag",
        "visible_to": "visibility",
        "owner_id": "user",
        "billing_frequency": "billing_frequency",
        "billing_frequency_cycles": "cycles?",
        "prices": "prices",
        "custom_fields": "custom",
    },
    required=("name",),
    created_status=201,
    only_on_create=(),
    filters={"owner_id": "owner_id"},
    windows=("updated_since",),
    sort_fields=("id", "name", "add_time", "update_time"),
    was_in_v1=True,
)

PRODUCT_VARIATIONS = RecordKind(
    name="product_variations",
    singular="product variation",
    path="/api/v2/products/{id}/variations",
    read=READ,
    write=WRITE,
    prices=Prices(get=None),
    defaults={"name": "", "product_id": None, "prices": []},
    writable={"name": "text", "prices": "prices"},
    required=("name",),
    created_status=201,
    hidden=("is_deleted", "add_time", "update_time"),
    only_on_create=(),
    belongs_to=("products", "product_id"),
    windows=(),
    sort_fields=("id",),
)
