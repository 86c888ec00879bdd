// The vendor's own client for Node writes and reads beside our API.
// Run by test_vendor_client.py: node vendor_client.js URL API_TOKEN STEP JSON
"use strict";
const v2 = require("pipedrive/v2");

const [url, apiKey, step, json] = process.argv.slice(2);
const sent = JSON.parse(json);
const configuration = new v2.Configuration({ basePath: `${url}/api/v2`, apiKey });
const organizations = new v2.OrganizationsApi(configuration);
const deals = new v2.DealsApi(configuration);

const steps = {
  create: async () => ({
    organization: (await organizations.addOrganization({ AddOrganizationRequest: sent.organization })).data,
    deal: (await deals.addDeal({ AddDealRequest: sent.deal })).data,
  }),
  change: async () => ({
    organization: (await organizations.updateOrganization({
      id: sent.organization_id, UpdateOrganizationRequest: sent.organization,
    })).data,
    deal: (await deals.updateDeal({ id: sent.deal_id, UpdateDealRequest: sent.deal })).data,
  }),
  read: async () => ({
    organization: (await organizations.getOrganization({ id: sent.organization_id })).data,
    deal: (await deals.getDeal({ id: sent.deal_id })).data,
  }),
};

steps[step]().then((data) => console.log(JSON.stringify(data)));
