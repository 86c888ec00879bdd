"""Pipelines, stages, deals, and what belongs to a deal, as data.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Children, Column, Cost, Entity, Snapshot
from pipedrive_pipeline.connectors.pipedrive.columns import (
    ARCHIVING,
    BIGINT,
    BOOLEAN,
    CUSTOM_FIELDS,
    EXPECTED_CLOSE_DATE,
    JSON,
    LABEL_IDS,
    NUMERIC,
    ORIGIN,
    OWNER_ID,
    STAMPS,
    TEXT,
    TIMESTAMP,
    VISIBLE_TO,
)
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    BY_UPDATE_TIME,
    GET_TOKENS,
    IDS_LIMIT,
    PAGE_LIMIT,
    V1_LIST_TOKENS,
    V2_LIST_TOKENS,
    Endpoint,
    RecordList,
    endpoint,
)
from pipedrive_pipeline.connectors.pipedrive.products import PRODUCTS_SCOPES

DEALS_SCOPES = ("deals:read", "deals:full")
SMALL_LIST_TOKENS = 5  # of pipelines and of stages
ARCHIVED_TOKENS = 20
PARTICIPANTS_TOKENS, CHANGES_TOKENS = 10, V1_LIST_TOKENS  # of one deal
# Deleted deals are listed for 30 days, but only where they are asked for.
DEAL_PARAMS = (
    ("status", "open,won,lost,deleted"),
    ("include_fields", "first_won_time,source_lead_id"),
)

PIPELINES = Entity(
    name="pipelines",
    label="Pipelines",
    description="Pipelines that deals go through; a deleted pipeline just disappears.",
    key=Column("id", BIGINT, "Pipedrive's number of the pipeline; pipeline_id points here."),
    columns=(
        Column("name", TEXT, "Name of the pipeline."),
        Column("order_nr", BIGINT, "Place among the pipelines; does not always begin at 1."),
        Column("is_deleted", BOOLEAN, "Whether the pipeline was deleted."),
        Column("is_deal_probability_enabled", BOOLEAN, "Whether its stages' probabilities count."),
        *STAMPS,
    ),
    read=Snapshot(),
    cost=Cost(SMALL_LIST_TOKENS, PAGE_LIMIT),
    scopes=DEALS_SCOPES,
)

STAGES = Entity(
    name="stages",
    label="Stages",
    description="Stages of pipelines; a deleted stage just disappears.",
    key=Column("id", BIGINT, "Pipedrive's number of the stage; stage_id points here."),
    columns=(
        Column("name", TEXT, "Name of the stage."),
        Column("pipeline_id", BIGINT, "Pipeline that the stage belongs to."),
        Column("order_nr", BIGINT, "Place in its pipeline; does not always begin at 1."),
        Column("is_deleted", BOOLEAN, "Whether the stage was deleted."),
        Column("deal_probability", NUMERIC, "Chance of winning a deal in this stage, in percent."),
        Column("is_deal_rot_enabled", BOOLEAN, "Whether deals in it can become rotten."),
        Column("days_to_rotten", BIGINT, "Days without activity until a deal is rotten."),
        *STAMPS,
    ),
    read=Snapshot(),
    cost=Cost(SMALL_LIST_TOKENS, PAGE_LIMIT),
    scopes=DEALS_SCOPES,
)

DEALS = Entity(
    name="deals",
    label="Deals",
    description="Deals as Pipedrive sent them: open, won and lost ones, archived ones, and for "
    "30 days deleted ones.",
    key=Column("id", BIGINT, "Pipedrive's number of the deal, unique in its company."),
    columns=(
        Column("title", TEXT, "Title; not unique."),
        OWNER_ID,
        Column("creator_user_id", BIGINT, "User who made the deal."),
        Column("person_id", BIGINT, "Person of the deal; others are participants."),
        Column("org_id", BIGINT, "Organization of the deal."),
        Column("pipeline_id", BIGINT, "Pipeline that the deal is in."),
        Column("stage_id", BIGINT, "Stage that the deal is in; a won deal stays in it."),
        Column("value", NUMERIC, "Amount in its currency; the sum of its products if it has any."),
        Column("currency", TEXT, "Currency of the amount, ISO 4217."),
        *STAMPS,
        Column("stage_change_time", TIMESTAMP, "Last move between stages, UTC; null: none yet."),
        Column("status", TEXT, "open, won, lost or deleted."),
        Column("is_deleted", BOOLEAN, "Whether it was deleted; it is listed for 30 days then."),
        *ARCHIVING,
        Column("probability", NUMERIC, "Chance of winning, in percent; null: the stage's."),
        Column("lost_reason", TEXT, "Why it was lost, as text."),
        VISIBLE_TO,
        Column("close_time", TIMESTAMP, "When it was last won or lost, UTC."),
        Column("won_time", TIMESTAMP, "When it was won, UTC; null again if reopened."),
        Column("lost_time", TIMESTAMP, "When it was lost, UTC; null again if reopened."),
        Column("first_won_time", TIMESTAMP, "When it was won first, UTC; stays if reopened."),
        Column("local_won_date", TEXT, "Day of winning in the company's time zone, YYYY-MM-DD."),
        Column("local_lost_date", TEXT, "Day of losing in the company's time zone, YYYY-MM-DD."),
        Column("local_close_date", TEXT, "Day of closing in the company's time zone, YYYY-MM-DD."),
        EXPECTED_CLOSE_DATE,
        LABEL_IDS,
        *ORIGIN,
        Column("source_lead_id", TEXT, "Lead that became this deal; the lead is gone."),
        Column("arr", NUMERIC, "Annual recurring revenue; by plan."),
        Column("mrr", NUMERIC, "Monthly recurring revenue; by plan."),
        Column("acv", NUMERIC, "Annual contract value; by plan."),
        CUSTOM_FIELDS,
    ),
    read=BY_UPDATE_TIME,
    cost=Cost(V2_LIST_TOKENS, PAGE_LIMIT, further_lists=(ARCHIVED_TOKENS,)),
    defined_by="deal_fields",
    personal=("title",),
    scopes=DEALS_SCOPES,
    gone_column="is_deleted",
    history=(
        "stage_id",
        "pipeline_id",
        "status",
        "stage_change_time",
        "won_time",
        "lost_time",
        "value",
        "currency",
    ),
)

DEAL_PRODUCTS = Entity(
    name="deal_products",
    label="Products of deals",
    description="Product lines of deals; those of a deal are read again whenever it changed.",
    key=Column("id", BIGINT, "Pipedrive's number of the line, unique in its company."),
    columns=(
        Column("deal_id", BIGINT, "Deal of the line."),
        Column("product_id", BIGINT, "Product of the line; null after it was purged."),
        Column("product_variation_id", BIGINT, "Variation of the product, if one was chosen."),
        Column("name", TEXT, "Name on the line; may differ from the product's."),
        Column("order_nr", BIGINT, "Place among the lines."),
        Column("item_price", NUMERIC, "Price of one piece."),
        Column("quantity", NUMERIC, "Number of pieces."),
        Column("discount", NUMERIC, "Discount, of the kind in discount_type."),
        Column("discount_type", TEXT, "percentage or amount."),
        Column("tax", NUMERIC, "Tax in percent."),
        Column(
            "tax_method", TEXT, "exclusive, inclusive or none; the same on all lines of a deal."
        ),
        Column("sum", NUMERIC, "Total of the line after discount."),
        Column("currency", TEXT, "Currency of the deal, ISO 4217."),
        Column("is_enabled", BOOLEAN, "Whether the line counts into the deal's value."),
        Column("comments", TEXT, "Comments on the line."),
        Column("billing_frequency", TEXT, "one-time, or how often it is billed."),
        Column("billing_frequency_cycles", BIGINT, "How many times it is billed; null: endless."),
        Column("billing_start_date", TEXT, "First day of billing, YYYY-MM-DD.", shape="day"),
        *STAMPS,
    ),
    read=Children("deals", "deal_id", batch=IDS_LIMIT),
    cost=Cost(V2_LIST_TOKENS, PAGE_LIMIT, tokens_unchanged=0),
    scopes=(*DEALS_SCOPES, *PRODUCTS_SCOPES),
)

DEAL_PARTICIPANTS = Entity(
    name="deal_participants",
    label="Participants of deals",
    description="Persons that take part in a deal, the deal's own person among them.",
    key=Column("id", BIGINT, "Pipedrive's number of the participation, unique in its company."),
    columns=(
        Column("deal_id", BIGINT, "Deal of the participation; added by the connector."),
        Column("person_id", BIGINT, "Person that takes part."),
        Column("add_time", TIMESTAMP, "When the person was added, UTC."),
        Column("active_flag", BOOLEAN, "Whether the participation is in force."),
        Column("added_by_user_id", JSON, "User who added the person."),
        Column("related_item_type", TEXT, "What the person takes part in: deal."),
        Column("related_item_id", BIGINT, "The deal, as Pipedrive sends it along."),
        Column("related_item_data", JSON, "The deal's title, as Pipedrive sends it along."),
    ),
    read=Children("deals", "deal_id", batch=1),
    cost=Cost(PARTICIPANTS_TOKENS, PAGE_LIMIT, tokens_unchanged=0),
    scopes=DEALS_SCOPES,
    is_on_by_default=False,
)

DEAL_CHANGES = Entity(
    name="deal_changes",
    label="Changes of deals",
    description="Each change of a field of a deal, from the deal's changelog.",
    key=Column("id", TEXT, "Deal, time, field and a hash; made by the connector."),
    columns=(
        Column("deal_id", BIGINT, "Deal that was changed; added by the connector."),
        Column("field_key", TEXT, "Field that was changed, such as stage_id or status."),
        Column("old_value", TEXT, "Value before, as text."),
        Column("new_value", TEXT, "Value after, as text."),
        Column("actor_user_id", BIGINT, "User who made the change."),
        Column("time", TIMESTAMP, "When it was changed, UTC."),
        Column("change_source", TEXT, "Whether the app or the API was used."),
        Column("change_source_user_agent", TEXT, "Program that made the change."),
        Column("is_bulk_update_flag", BOOLEAN, "Whether several deals were changed at once."),
    ),
    # A deal without a move has no stage but its first one, so its changelog is not worth 20 tokens.
    read=Children(
        "deals",
        "deal_id",
        batch=1,
        is_swept=False,
        due_by="stage_change_time",
        first=("status", "open"),
        share=0.25,
    ),
    cost=Cost(CHANGES_TOKENS, PAGE_LIMIT, tokens_unchanged=0),
    personal=("old_value", "new_value"),
    scopes=("recents:read",),
    is_on_by_default=False,
)

# Its event names the deal: the lists of lines are read by their deals.
DEAL_LINE_EVENT = "deal_product"

PIPELINE_ENDPOINTS = (
    endpoint(PIPELINES, "/api/v2/pipelines", "cursor", event="pipeline"),
    endpoint(STAGES, "/api/v2/stages", "cursor", event="stage"),
)
DEAL_ENDPOINTS = (
    Endpoint(
        DEALS,
        (
            RecordList("/api/v2/deals", V2_LIST_TOKENS, DEAL_PARAMS),
            RecordList("/api/v2/deals/archived", ARCHIVED_TOKENS, DEAL_PARAMS, part="archived"),
        ),
        "cursor",
        takes_ids=True,
        get_tokens=GET_TOKENS,
        event="deal",
    ),
    endpoint(
        DEAL_PRODUCTS,
        "/api/v2/deals/products",
        "cursor",
        parents="deal_ids",
        event=DEAL_LINE_EVENT,
    ),
    endpoint(DEAL_PARTICIPANTS, "/v1/deals/{parent}/participants", "offset"),
    endpoint(DEAL_CHANGES, "/v1/deals/{parent}/changelog", "cursor"),
)
