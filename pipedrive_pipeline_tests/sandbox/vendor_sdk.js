// The vendor's own client for Node, unchanged but for the base path, against a sandbox.
// Run by test_vendor_sdk.py: node vendor_sdk.js URL API_TOKEN CLIENT_ID CLIENT_SECRET CODE
"use strict";
const assert = require("assert");
const v1 = require("pipedrive/v1");
const v2 = require("pipedrive/v2");

const [url, apiKey, clientId, clientSecret, code] = process.argv.slice(2);
const CALLBACK = "http://127.0.0.1:9/callback";

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
    id: person.id, AddPersonRequest: { name: "Ida Zwei" },
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
  await records(new v2.Configuration({ apiKey, basePath: `${url}/api/v2` }));
  await fields(new v2.Configuration({ apiKey, basePath: `${url}/api/v2` }));
  await firstVersion(new v1.Configuration({ apiKey, basePath: `${url}/api/v1` }));
  await oauth();
})().catch((error) => {
  console.error(error.config && error.config.url, error.response && error.response.data, error);
  process.exit(1);
});
