// The vendor's own client for Node, unchanged but for the base path, against a sandbox.
// Run by test_vendor_sdk.py: node vendor_sdk.js URL API_TOKEN CLIENT_ID CLIENT_SECRET CODE
// `truth.json` next to it has the rows of each kind; `read.json` gets what the client read of them.
"use strict";
const assert = require("assert");
const fs = require("fs");
const v1 = require("pipedrive/v1");
const v2 = require("pipedrive/v2");

const [url, apiKey, clientId, clientSecret, code] = process.argv.slice(2);
const CALLBACK = "http://127.0.0.1:9/callback";

const truth = JSON.parse(fs.readFileSync("truth.json", "utf8"));
const read = {};

async function rowsByCursor(list, query = {}) {
  const rows = [];
  let cursor;
  do {
    const page = await list({ limit: 7, cursor, ...query });
    rows.push(...page.data);
    cursor = page.additional_data.next_cursor;
  } while (cursor);
  return rows;
}

async function rowsByOffset(list) {
  const rows = [];
  let start = 0;
  do {
    const page = await list({ limit: 7, start });
    rows.push(...page.data);
    start = page.additional_data.pagination.next_start;
  } while (start);
  return rows;
}

function equals(kind, rows) {
  const byId = (one, other) => (one.id < other.id ? -1 : 1);
  const order = kind === "lead_sources" ? undefined : byId;
  assert.deepEqual([...rows].sort(order), [...truth[kind]].sort(order), kind);
  read[kind] = rows;
}

async function readsSales(second, first) {
  const deals = new v2.DealsApi(second), lines = new v2.DealProductsApi(second);
  const products = new v2.ProductsApi(second), leads = new v1.LeadsApi(first);
  const status = { status: "open,won,lost,deleted" };
  const organizations = new v2.OrganizationsApi(second), persons = new v2.PersonsApi(second);
  equals("organizations", await rowsByCursor((query) => organizations.getOrganizations(query)));
  equals("persons", await rowsByCursor((query) => persons.getPersons(query)));
  equals("pipelines", await rowsByCursor((query) => new v2.PipelinesApi(second).getPipelines(query)));
  equals("stages", await rowsByCursor((query) => new v2.StagesApi(second).getStages(query)));
  equals("activities", await rowsByCursor((query) => new v2.ActivitiesApi(second).getActivities(query)));
  equals("products", await rowsByCursor((query) => products.getProducts(query)));
  equals("deals", [
    ...await rowsByCursor((query) => deals.getDeals(query), status),
    ...await rowsByCursor((query) => deals.getArchivedDeals(query), status),
  ]);
  const deal_ids = truth.deals.map((deal) => deal.id);
  equals("deal_products", await rowsByCursor((query) => lines.getDealsProducts(query), { deal_ids }));
  const variations = [];
  for (const { id } of truth.products) {
    variations.push(...(await products.getProductVariations({ id, limit: 100 })).data);
  }
  equals("product_variations", variations);
  equals("notes", await rowsByOffset((query) => new v1.NotesApi(first).getNotes(query)));
  equals("leads", [
    ...await rowsByOffset((query) => leads.getLeads(query)),
    ...await rowsByOffset((query) => leads.getArchivedLeads(query)),
  ]);
  equals("activity_types", (await new v1.ActivityTypesApi(first).getActivityTypes()).data);
  equals("lead_labels", (await new v1.LeadLabelsApi(first).getLeadLabels()).data);
  equals("lead_sources", (await new v1.LeadSourcesApi(first).getLeadSources()).data);
  const participants = [], dealsV1 = new v1.DealsApi(first);
  for (const deal of truth.deals.filter((deal) => !deal.is_deleted)) {
    participants.push(...(await dealsV1.getDealParticipants({ id: deal.id, limit: 100 })).data);
  }
  equals("deal_participants", participants);
  for (const api of [new v2.DealFieldsApi(second), new v2.ProductFieldsApi(second)]) {
    const list = (api.getDealFields || api.getProductFields).bind(api);
    assert.ok((await rowsByCursor(list)).length > 10);
  }
  assert.ok((await new v2.ActivityFieldsApi(second).getActivityFields({})).data.length > 10);
  assert.ok((await new v1.LeadFieldsApi(first).getLeadFields({})).data.length > 10);
  fs.writeFileSync("read.json", JSON.stringify(read));
}

async function writesDeals(second, first) {
  const deals = new v2.DealsApi(second), lines = new v2.DealProductsApi(second);
  const dealsV1 = new v1.DealsApi(first);
  const deal = (await deals.addDeal({ AddDealRequest: { title: "SDK", currency: "CHF" } })).data;
  const line = (await lines.addDealProduct({
    id: deal.id, AddDealProductRequest: { product_id: 1, item_price: 20, quantity: 3 },
  })).data;
  await lines.updateDealProduct({
    id: deal.id, product_attachment_id: line.id, UpdateDealProductRequest: { quantity: 4 },
  });
  const won = (await deals.updateDeal({
    id: deal.id, UpdateDealRequest: { status: "won", stage_id: 3 },
  })).data;
  assert.deepEqual([won.value, won.status, won.stage_id, won.pipeline_id], [80, "won", 3, 1]);
  const detailed = (await deals.getDeal({ id: deal.id, include_fields: "first_won_time" })).data;
  assert.equal(detailed.first_won_time, won.won_time);
  const participant = (await dealsV1.addDealParticipant({
    id: deal.id, AddDealParticipantRequest: { person_id: 5 },
  })).data;
  await dealsV1.deleteDealParticipant({ id: deal.id, deal_participant_id: participant.id });
  const changes = (await dealsV1.getDealChangelog({ id: deal.id })).data;
  assert.ok(changes.some((change) => change.field_key === "stage_id" && change.new_value === "3"));
  const many = { data: [1, 2].map((product_id) => ({ product_id, item_price: 1, quantity: 1 })) };
  const added = (await lines.addManyDealProducts({
    id: deal.id, CreateManyDealProductRequest: many,
  })).data;
  const ids = added.map((row) => row.id).join(",");
  assert.equal((await lines.deleteManyDealProducts({ id: deal.id, ids })).data.ids.length, 2);
  await lines.deleteDealProduct({ id: deal.id, product_attachment_id: line.id });
  const job = (await deals.convertDealToLead({ id: deal.id })).data.conversion_id;
  await deals.getDealConversionStatus({ id: deal.id, conversion_id: job });
  const status = (await deals.getDealConversionStatus({ id: deal.id, conversion_id: job })).data;
  assert.equal(status.status, "completed");
  const back = new v2.LeadsApi(second), id = status.lead_id;
  const second_job = (await back.convertLeadToDeal({
    id, ConvertLeadToDealRequest: { stage_id: 2 },
  })).data.conversion_id;
  await back.getLeadConversionStatus({ id, conversion_id: second_job });
  const made = (await back.getLeadConversionStatus({ id, conversion_id: second_job })).data.deal_id;
  assert.equal((await dealsV1.mergeDeals({
    id: made, MergeDealsRequest: { merge_with_id: 20 },
  })).data.id, 20);
  assert.equal((await deals.deleteDeal({ id: 20 })).data.id, 20);
}

async function writesTheRest(second, first) {
  const pipelines = new v2.PipelinesApi(second), stages = new v2.StagesApi(second);
  const pipeline = (await pipelines.addPipeline({ AddPipelineRequest: { name: "SDK" } })).data;
  const stage = (await stages.addStage({
    AddStageRequest: { name: "SDK", pipeline_id: pipeline.id },
  })).data;
  await stages.updateStage({ id: stage.id, UpdateStageRequest: { deal_probability: 40 } });
  assert.equal((await stages.getStage({ id: stage.id })).data.deal_probability, 40);
  await stages.deleteStage({ id: stage.id });
  await pipelines.updatePipeline({ id: pipeline.id, UpdatePipelineRequest: { name: "SDK 2" } });
  await pipelines.deletePipeline({ id: pipeline.id });

  const products = new v2.ProductsApi(second);
  const product = (await products.addProduct({
    AddProductRequest: { name: "SDK", prices: [{ currency: "EUR", price: 5 }] },
  })).data;
  const variation = (await products.addProductVariation({
    id: product.id, AddProductVariationRequest: { name: "klein" },
  })).data;
  await products.updateProductVariation({
    id: product.id, product_variation_id: variation.id,
    UpdateProductVariationRequest: { name: "groß" },
  });
  await products.deleteProductVariation({ id: product.id, product_variation_id: variation.id });
  await products.updateProduct({ id: product.id, UpdateProductRequest: { code: "S" } });
  assert.equal((await products.getProduct({ id: product.id })).data.code, "S");
  await products.deleteProduct({ id: product.id });

  const activities = new v2.ActivitiesApi(second);
  const activity = (await activities.addActivity({
    AddActivityRequest: { subject: "SDK", type: "call", deal_id: 3, due_time: "14:00" },
  })).data;
  const done = await activities.updateActivity({
    id: activity.id, AddActivityRequest: { done: true },
  });
  assert.equal(done.data.done, true);
  await activities.deleteActivity({ id: activity.id });

  const notes = new v1.NotesApi(first), leads = new v1.LeadsApi(first);
  const note = (await notes.addNote({ AddNoteRequest: { content: "SDK", deal_id: 3 } })).data;
  await notes.updateNote({ id: note.id, NoteRequest: { content: "SDK 2" } });
  assert.equal((await notes.getNote({ id: note.id })).data.content, "SDK 2");
  assert.equal((await notes.deleteNote({ id: note.id })).data, true);
  const lead = (await leads.addLead({
    AddLeadRequest: { title: "SDK", person_id: 4, value: { amount: 5, currency: "EUR" } },
  })).data;
  await leads.updateLead({ id: lead.id, UpdateLeadRequest: { title: "SDK 2" } });
  assert.equal((await leads.getLead({ id: lead.id })).data.title, "SDK 2");
  assert.equal((await leads.deleteLead({ id: lead.id })).data.id, lead.id);
  const labels = new v1.LeadLabelsApi(first), types = new v1.ActivityTypesApi(first);
  const label = (await labels.addLeadLabel({
    AddLeadLabelRequest: { name: "SDK", color: "red" },
  })).data;
  await labels.updateLeadLabel({ id: label.id, UpdateLeadLabelRequest: { color: "blue" } });
  await labels.deleteLeadLabel({ id: label.id });
  const type = (await types.addActivityType({
    AddActivityTypeRequest: { name: "SDK", icon_key: "car" },
  })).data;
  await types.updateActivityType({ id: type.id, UpdateActivityTypeRequest: { name: "SDK 2" } });
  await types.deleteActivityType({ id: type.id });
}

async function walk(list) {
  const ids = [];
  let cursor;
  do {
    const page = await list({ limit: 25, cursor, sort_by: "update_time" });
    ids.push(...page.data.map((row) => row.id));
    cursor = page.additional_data.next_cursor;
  } while (cursor);
  return new Set(ids).size;
}

async function records(configuration) {
  const organizations = new v2.OrganizationsApi(configuration);
  const persons = new v2.PersonsApi(configuration);
  assert.equal(await walk((query) => organizations.getOrganizations(query)), 60);
  assert.equal(await walk((query) => persons.getPersons(query)), 150);

  const { id } = (await organizations.addOrganization({
    AddOrganizationRequest: { name: "SDK GmbH", address: { value: "Kai 1, Kiel" } },
  })).data;
  await organizations.updateOrganization({ id, UpdateOrganizationRequest: { name: "SDK AG" } });
  const person = (await persons.addPerson({
    AddPersonRequest: { name: "Ida SDK", org_id: id, emails: [{ value: "ida@sdk.example" }] },
  })).data;
  assert.equal(person.emails[0].primary, true);
  const renamed = await persons.updatePerson({
    id: person.id, UpdatePersonRequest: { name: "Ida Zwei" },
  });
  assert.equal(renamed.data.last_name, "Zwei");
  const read = (await organizations.getOrganization({ id, include_fields: "people_count" })).data;
  assert.deepEqual([read.name, read.people_count], ["SDK AG", 1]);
  const found = (await persons.searchPersons({ term: "Ida Zwei" })).data.items;
  assert.equal(found[0].item.organization.name, "SDK AG");
  const companies = (await organizations.searchOrganization({ term: "SDK AG" })).data.items;
  assert.equal(companies[0].item.id, id);
  assert.equal((await persons.deletePerson({ id: person.id })).data.id, person.id);
  assert.equal((await organizations.deleteOrganization({ id })).data.id, id);
}

async function fields(configuration) {
  const api = new v2.OrganizationFieldsApi(configuration);
  const before = (await api.getOrganizationFields({ limit: 500 })).data.length;
  const request = { field_name: "SDK", field_type: "enum", options: [{ label: "a" }] };
  const made = await api.addOrganizationField({ AddOrganizationFieldRequest: request });
  const field_code = made.data.field_code;
  await api.updateOrganizationField({
    field_code, UpdateOrganizationFieldRequest: { field_name: "SDK 2" },
  });
  const options = (await api.addOrganizationFieldOptions({
    field_code, AddDealFieldOptionsRequestInner: [{ label: "b" }],
  })).data;
  assert.deepEqual(options.map((one) => one.label), ["b"]);
  await api.updateOrganizationFieldOptions({
    field_code, UpdateDealFieldOptionsRequestInner: [{ id: options[0].id, label: "c" }],
  });
  await api.deleteOrganizationFieldOptions({
    field_code, DeleteDealFieldOptionsRequestInner: [{ id: made.data.options[0].id }],
  });
  const field = (await api.getOrganizationField({ field_code })).data;
  assert.equal(field.field_name, "SDK 2");
  assert.deepEqual(field.options.map((one) => one.label), ["c"]);
  await api.deleteOrganizationField({ field_code });
  assert.equal((await api.getOrganizationFields({ limit: 500 })).data.length, before);
  assert.ok((await new v2.PersonFieldsApi(configuration).getPersonFields({})).data.length > 20);
}

async function firstVersion(configuration) {
  const users = new v1.UsersApi(configuration);
  assert.equal((await users.getCurrentUser()).data.company_domain, "acme-sandbox");
  assert.equal((await users.getUsers()).data.length, 5);
  assert.equal((await users.getUser({ id: 901 })).data.id, 901);
  const listed = await new v1.OrganizationFieldsApi(configuration).getOrganizationFields({});
  assert.ok(listed.data.length > 40);
  const merged = await new v1.OrganizationsApi(configuration).mergeOrganizations({
    id: 30, MergeOrganizationsRequest: { merge_with_id: 31 },
  });
  assert.equal(merged.data.id, 31);
}

async function webhooks(configuration) {
  const api = new v1.WebhooksApi(configuration);
  const made = await api.addWebhook({ AddWebhookRequest: {
    subscription_url: url, event_action: "*", event_object: "deal", name: "SDK", version: "2.0",
  } });
  assert.deepEqual((await api.getWebhooks()).data, [made.data]);
  await api.deleteWebhook({ id: made.data.id });
  assert.deepEqual((await api.getWebhooks()).data, []);
}

async function oauth() {
  const app = new v2.OAuth2Configuration({ clientId, clientSecret, redirectUri: CALLBACK, host: url });
  const tokens = await app.authorize(code);
  assert.equal(tokens.api_domain, url);
  assert.equal((await app.tokenRefresh()).refresh_token, tokens.refresh_token);
  const asApp = new v2.Configuration({ accessToken: app.getAccessToken, basePath: app.basePath });
  const page = await new v2.OrganizationsApi(asApp).getOrganizations({ limit: 1 });
  assert.equal(page.data[0].id, 1);
}

(async () => {
  const second = new v2.Configuration({ apiKey, basePath: `${url}/api/v2` });
  const first = new v1.Configuration({ apiKey, basePath: `${url}/api/v1` });
  await readsSales(second, first);
  await writesDeals(second, first);
  await writesTheRest(second, first);
  await records(new v2.Configuration({ apiKey, basePath: `${url}/api/v2` }));
  await fields(new v2.Configuration({ apiKey, basePath: `${url}/api/v2` }));
  await firstVersion(new v1.Configuration({ apiKey, basePath: `${url}/api/v1` }));
  await webhooks(first);
  await oauth();
})().catch((error) => {
  console.error(error.config && error.config.url, error.response && error.response.data, error);
  process.exit(1);
});
