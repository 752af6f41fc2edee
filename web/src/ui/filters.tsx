import { useAPI } from "../api";
import { groupName } from "../format";
import { go, useRoute, type Params } from "../route";

/** Parameters of /nodes by which the page filters. */
export const filterNames = ["q", "client", "version", "country", "asn", "hosting", "cloud", "fork_digest", "flag", "validators_from", "validators_to", "all_subnets"];

const labels: Record<string, string> = { q: "Search", asn: "AS", hosting: "Hosting", fork_digest: "Fork", validators_from: "Validators from", validators_to: "Validators to", all_subnets: "All subnets", flag: "Flag", version: "Release", cloud: "Cloud", country: "Country", client: "Client" };

/** What /nodes is asked with. */
export function nodeParams(params: URLSearchParams): Params {
  const out: Params = { counted: params.get("all") ? undefined : true };
  for (const name of filterNames) {
    const values = params.getAll(name).filter(Boolean);
    if (values.length) out[name] = values;
  }
  return out;
}

export function change(path: string, params: URLSearchParams, edit: (p: URLSearchParams) => void): void {
  const next = new URLSearchParams(params);
  edit(next);
  next.delete("cursor");
  const out: Record<string, string[]> = {};
  for (const name of next.keys()) out[name] = next.getAll(name);
  go(path, out);
}

/** The filters: lists to choose from, and chips of those that are set. */
export function Filters({ path }: { path: string }) {
  const { params } = useRoute();
  const clients = useAPI("/api/v1/clients").answer?.data.filter((g) => g.by === "client" && g.name) ?? [];
  const countries = useAPI("/api/v1/countries").answer?.data.filter((g) => g.name && g.code) ?? [];
  const hosting = useAPI("/api/v1/hosting").answer?.data ?? [];
  const lists: [string, string, [string, string][]][] = [
    ["client", "Client", clients.map((g) => [g.name!, groupName(g.name)])],
    ["country", "Country", countries.map((g): [string, string] => [g.code!, g.name!]).sort((a, b) => a[1].localeCompare(b[1]))],
    ["hosting", "Hosting", hosting.filter((g) => g.by === "hosting" && g.name).map((g) => [g.name!, groupName(g.name)])],
    ["cloud", "Cloud", hosting.filter((g) => g.by === "cloud" && g.name).map((g) => [g.name!, groupName(g.name)])],
  ];
  const set = filterNames.flatMap((name) => params.getAll(name).map((value) => ({ name, value })));
  return (
    <div class="filters">
      {lists.map(([name, label, options]) =>
        options.length ? (
          <select
            key={name}
            aria-label={"Filter by " + label.toLowerCase()}
            value=""
            onChange={(e) => {
              const value = e.currentTarget.value;
              if (value && !params.getAll(name).includes(value)) change(path, params, (p) => p.append(name, value));
            }}
          >
            <option value="">{label}</option>
            {options.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        ) : null,
      )}
      {set.map(({ name, value }) => (
        <button key={name + value} type="button" class="filter" aria-label={`Remove filter ${labels[name]} ${value}`} onClick={() => change(path, params, (p) => p.delete(name, value))}>
          {labels[name]}: {["client", "hosting", "cloud"].includes(name) ? groupName(value) : value} ×
        </button>
      ))}
    </div>
  );
}
