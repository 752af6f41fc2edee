package api

// routes lists every path. openapi.yaml describes each of them: a test compares both.
func routes() []route {
	return []route{
		{path: "/api/v1/summary", handle: getSummary, view: true},
		{path: "/api/v1/nodes", handle: listNodes, view: true},
		{path: "/api/v1/nodes/{id}", handle: getNode, view: true},
		{path: "/api/v1/nodes/{id}/observations", handle: listObservations, view: true},
		{path: "/api/v1/countries", handle: listGroups(byCountry), view: true},
		{path: "/api/v1/cities", handle: listGroups(byCity), view: true},
		{path: "/api/v1/networks", handle: listGroups(byNetwork), view: true},
		{path: "/api/v1/hosting", handle: listGroups(byHosting, byCloud), view: true},
		{path: "/api/v1/clients", handle: listGroups(byClient, byRelease, byOS, byArch), view: true},
		{path: "/api/v1/subnets", handle: listSubnets, view: true},
		{path: "/api/v1/forks", handle: getForks, view: true},
		{path: "/api/v1/errors", handle: listErrors, view: true},
		{path: "/api/v1/concentration", handle: getConcentration, view: true},
		{path: "/api/v1/timeseries", handle: getTimeseries, view: true},
		{path: "/api/v1/changes", handle: listChanges, view: true},
		{path: "/api/v1/crawl", handle: getCrawl, view: true},
		{path: "/api/v1/sentries", handle: getSentries, view: true},
		{path: "/api/v1/datasets", handle: listDatasets, view: true},
		{path: "/api/v1/datasets/{table}", handle: getDataset},
		{path: "/api/v1/datasets/{table}/{part}", handle: getDatasetPart},
		{path: "/api/v1/snapshot", handle: getSnapshot, view: true},
		{path: "/api/v1/events", handle: streamEvents, view: true},
		{path: "/validators", handle: listValidators, view: true},
		{path: "/livez", handle: getLivez, open: true},
		{path: "/readyz", handle: getReadyz, open: true},
		{path: "/openapi.json", handle: getOpenAPI},
		{path: "/llms.txt", handle: getLLMs},
		{path: "/docs", handle: getDocs},
	}
}
