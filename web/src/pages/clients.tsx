import { useMemo } from "preact/hooks";
import { useAPI, type Group } from "../api";
import { capital, clientColour, clientName, digestName, groupName, num, pct, range, releaseName, time } from "../format";
import { Term } from "../glossary";
import { href } from "../route";
import { Bars, Dot, Switch } from "../ui/bits";
import { Card } from "../ui/card";
import { NothingYet } from "../ui/states";
import { byOptions, clientLabel, ClientTrend, GroupBars, groupRows, methods, useBy } from "./overview";

function Shares({ groups, title, by, lines, class: cls }: { groups: Group[]; title: string; by: "nodes" | "validators"; lines?: number[]; class?: string }) {
  const all = useAPI("/api/v1/clients").answer;
  const sum = groups.reduce((n, g) => n + (g[by] ?? 0), 0);
  return (
    <Card class={cls} title={title} sub={lines ? `share of ${by}; lines at 33, 50 and 66 %` : "share of " + by} method={by === "validators" ? methods.validators : methods.counted} meta={all?.meta} rows={groupRows(groups)} empty={!groups.length && "Not known yet."}>
      <GroupBars groups={groups} by={by} label={(g) => (g.by === "client" ? clientLabel(g) : <>{g.by === "arch" ? (g.name ?? "Unknown") : groupName(g.name)}</>)} colour={(g) => (g.by === "client" ? clientColour(g.name) : by === "validators" ? "var(--validators)" : "var(--accent)")} lines={lines?.map((l) => l * sum)} limit={12} />
    </Card>
  );
}

function Releases({ groups }: { groups: Group[] }) {
  const meta = useAPI("/api/v1/clients").answer?.meta;
  return (
    <Card class="half" title="Releases" sub="most used first" method={methods.counted} meta={meta} rows={groups.map((g) => ({ client: g.code, release: g.name, ...groupRows([g])[0] }))} empty={!groups.length && "No release known yet."}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table: Releases">
        <table>
          <thead>
            <tr>
              <th scope="col">Client</th>
              <th scope="col">Release</th>
              <th scope="col" class="n">
                Nodes
              </th>
              <th scope="col" class="n">
                Validators (90 %)
              </th>
            </tr>
          </thead>
          <tbody>
            {[...groups]
              .sort((a, b) => b.nodes - a.nodes)
              .slice(0, 40)
              .map((g) => (
                <tr key={`${g.code}/${g.name}`}>
                  <td>
                    <Dot colour={clientColour(g.code)} /> {clientName(g.code)}
                  </td>
                  <td>{g.name ? <a href={href("/nodes", { client: g.code, version: g.name })}>{g.name}</a> : releaseName(null)}</td>
                  <td class="n">
                    {num(g.nodes)} <span class="sub">{pct(g.share_nodes)}</span>
                  </td>
                  <td class="n">
                    {num(g.validators)} <span class="sub">{range(g.validators_low, g.validators_high)}</span>
                  </td>
                </tr>
              ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function ForkReadiness() {
  const forks = useAPI("/api/v1/forks");
  const f = forks.answer?.data;
  const versions = useMemo(() => [...(f?.versions ?? [])].sort((a, b) => b.nodes - a.nodes), [f]);
  const next = f?.next;
  return (
    <Card
      class="half"
      title="Fork readiness"
      sub={next ? `${capital(next.name)} at epoch ${num(next.epoch)}, ${time(next.at)}, digest ${next.digest}` : `no fork is scheduled; current digest ${f?.current_digest ?? "unknown"}`}
      method={
        <>
          Ready: the record announces the next fork's version and digest (<Term name="nfd" />). Unknown: the record says nothing.
        </>
      }
      meta={forks.answer?.meta}
      problem={forks.problem}
      loading={forks.loading}
      rows={versions.map((v) => ({ ...v }))}
      empty={f && !versions.length && "No release known yet."}
    >
      <Bars
        bars={versions.slice(0, 14).map((v) => {
          const good = next ? v.ready : v.current;
          return { key: v.client + v.version, label: <><Dot colour={clientColour(v.client)} /> {clientName(v.client)} {clientName(v.client) === clientName(null) ? "" : releaseName(v.version)}</>, value: v.nodes ? good / v.nodes : 0, text: `${num(good)} of ${num(v.nodes)} ${next ? "ready" : "on the current fork"}${next && v.unknown ? `, ${num(v.unknown)} unknown` : ""}`, colour: "var(--good)" };
        })}
        max={1}
      />
    </Card>
  );
}

function Announced() {
  const forks = useAPI("/api/v1/forks");
  const list = forks.answer?.data.announced ?? [];
  return (
    <Card title="What records announce" method="Digest of the Status; version and next digest of the record." meta={forks.answer?.meta} rows={list.map((a) => ({ ...a }))} empty={forks.answer && !list.length && "Nothing yet."}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table: Announcements">
        <table>
          <thead>
            <tr>
              <th scope="col">Digest</th>
              <th scope="col">Next version</th>
              <th scope="col">
                <Term name="nfd" />
              </th>
              <th scope="col" class="n">
                Nodes
              </th>
            </tr>
          </thead>
          <tbody>
            {list.map((a, i) => (
              <tr key={i}>
                <td>
                  <code>{a.fork_digest ?? "–"}</code>
                </td>
                <td>
                  <code>{a.next_fork_version ?? "–"}</code>
                </td>
                <td>
                  <code>{digestName(a.nfd)}</code>
                </td>
                <td class="n">{num(a.nodes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

export function ClientsPage() {
  const clients = useAPI("/api/v1/clients");
  const [by, setBy] = useBy();
  if (!clients.answer) return clients.loading ? <div class="grid" role="status" aria-label="Loading" /> : <NothingYet problem={clients.problem} />;
  const of = (kind: string) => clients.answer!.data.filter((g) => g.by === kind);
  return (
    <>
      <div class="bar">
        <Switch label="Shares of" value={by} options={byOptions} onChange={setBy} />
      </div>
      <div class="grid">
        <Shares class="two" title="Clients" groups={of("client")} by={by} lines={[1 / 3, 1 / 2, 2 / 3]} />
        <div class="column">
          <Shares title="Operating systems" groups={of("os")} by={by} />
          <Shares title="Architectures" groups={of("arch")} by={by} />
        </div>
        <Releases groups={of("release")} />
        <ForkReadiness />
        <ClientTrend span={30 * 86400e3} />
        <Announced />
      </div>
    </>
  );
}
