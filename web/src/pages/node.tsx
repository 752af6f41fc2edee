import { useMemo } from "preact/hooks";
import { useAPI, type Interval, type Meta, type NodeDetail } from "../api";
import { Plot } from "../chart/plot";
import { Timeline, type Epoch } from "../chart/timeline";
import { decodeENR } from "../enr";
import { ago, clientName, digestName, groupName, known, num, pct, range, releaseName, time } from "../format";
import { Term } from "../glossary";
import { href } from "../route";
import { isSite } from "../site";
import { Chip, Copy, Estimate } from "../ui/bits";
import { Card } from "../ui/card";
import { NothingYet } from "../ui/states";
import { NotSeen } from "./nodes";
import { outcomeName } from "./overview";

/** A node, and what its answer says of the data. */
interface Of {
  n: NodeDetail;
  meta: Meta;
}

/** The flags of a node whose interval is wider than its posterior. */
const wider = (n: NodeDetail) => n.flags?.filter((f) => ["silent", "every_duty", "conflict"].includes(f)).map((f) => f.replaceAll("_", " ")).join(", ");

/** The posterior's distribution function, with the interval and the median. */
function Posterior({ n }: { n: NodeDetail }) {
  const points = n.posterior ?? [];
  const top = Math.max(1, n.validators_high ?? 1, points.find((p) => p.p > 0.995)?.validators ?? points.at(-1)!.validators);
  const width = 600;
  const height = 170;
  const x = (v: number) => (Math.log1p(v) / Math.log1p(top)) * width;
  const y = (p: number) => height - p * height;
  const inside = points.filter((p) => p.validators <= top);
  // Steps: between two numbers of validators the probability stays.
  let line = `M0,${y(0)}`;
  for (const p of inside) line += `H${x(p.validators).toFixed(1)}V${y(p.p).toFixed(1)}`;
  line += `H${width}`;
  const [low, high] = [n.validators_low ?? 0, n.validators_high ?? 0];
  const ticks = [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000].filter((v) => v <= top);
  return (
    <svg class="posterior" viewBox={`-60 -12 ${width + 90} ${height + 42}`} role="img" aria-label={`Probability of at most this many validators. Median ${num(n.validators)}, 90 % interval ${range(low, high)}`}>
      <rect x={x(low)} y="0" width={Math.max(2, x(high) - x(low))} height={height} class="interval" />
      {[0, 0.25, 0.5, 0.75, 1].map((p) => (
        <g key={p}>
          <line x1="0" x2={width} y1={y(p)} y2={y(p)} class="grid-line" />
          <text x="-6" y={y(p) + 4} text-anchor="end">
            {p * 100} %
          </text>
        </g>
      ))}
      {ticks.map((v) => (
        <text key={v} x={x(v)} y={height + 18} text-anchor="middle">
          {num(v)}
        </text>
      ))}
      <path d={line} class="curve" />
      <line x1={x(n.validators ?? 0)} x2={x(n.validators ?? 0)} y1="0" y2={height} class="median" />
    </svg>
  );
}

const signals: [keyof NonNullable<NodeDetail["signals"]>, string, string][] = [
  ["subnets", "Attestation subnets", "duties visible as short-lived subscriptions"],
  ["custody", "Custody groups", "their number grows with the stake"],
  ["sync", "Sync committees", "subnets for validators in the committee"],
];

function Signals({ n }: { n: NodeDetail }) {
  const list: [string, string, Interval | null | undefined][] = [...signals.map(([k, a, b]): [string, string, Interval | null | undefined] => [a, b, n.signals[k]]), ["Together", "with the prior", known(n.validators) ? { validators: n.validators, validators_low: n.validators_low!, validators_high: n.validators_high! } : null]];
  const top = Math.log1p(Math.max(1, ...list.map(([, , i]) => i?.validators_high ?? 0)));
  const at = (v: number) => (Math.log1p(v) / top) * 100;
  return (
    <table class="signals">
      <tbody>
        {list.map(([name, what, i]) => (
          <tr key={name}>
            <th scope="row">
              {name} <span class="sub">{what}</span>
            </th>
            <td>
              {i && (
                <span class="span" aria-hidden="true">
                  <i style={{ left: at(i.validators_low) + "%", width: Math.max(0.5, at(i.validators_high) - at(i.validators_low)) + "%" }} />
                  <b style={{ left: at(i.validators) + "%" }} />
                </span>
              )}
            </td>
            <td class="n">{i ? <Estimate v={i.validators} low={i.validators_low} high={i.validators_high} /> : <span class="sub">says nothing</span>}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Facts({ facts }: { facts: [preact.ComponentChildren, preact.ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, v]) => known(v) && v !== "")
        .map(([k, v], i) => (
          <div key={i}>
            <dt>{k}</dt>
            <dd>{v}</dd>
          </div>
        ))}
    </dl>
  );
}

function Identity({ n, meta }: Of) {
  const entries = n.enr ? decodeENR(n.enr) : null;
  return (
    <Card class="half" title="Identity" meta={meta} method="From the newest record, Status and identify.">
      <Facts
        facts={[
          [<Term name="peer id">Peer id</Term>, <><code class="long">{n.id}</code> <Copy text={n.id!} label="peer id" /></>],
          [<Term name="node id">Node id</Term>, n.node_id && <><code class="long">{n.node_id}</code> <Copy text={n.node_id} label="node id" /></>],
          [<Term name="agent">Agent</Term>, n.client_version],
          ["System", [n.os, n.arch].filter(Boolean).join(", ")],
          ["Location", [n.city, n.region, n.country].filter(Boolean).join(", ")],
          [<Term name="network (AS)">Network</Term>, known(n.asn) ? `AS${n.asn} ${n.as_name ?? ""}` : ""],
          ["Hosting", [n.hosting, n.cloud].filter(Boolean).map(groupName).join(", ")],
          [<Term name="fork digest">Fork digest</Term>, n.fork_digest],
          ["Next fork version", n.next_fork_version],
          [<Term name="nfd">Next digest (nfd)</Term>, n.nfd && digestName(n.nfd)],
          [<Term name="custody group">Custody groups</Term>, known(n.custody_group_count) ? `${n.custody_group_count} of 128` : ""],
          [<Term name="long-lived subnet">Long-lived subnets</Term>, n.all_subnets ? "all 64" : n.long_lived_subnets?.join(", ")],
          ["Address", n.ip && `${n.ip} port ${n.port}`],
          [<Term name="ENR">Record</Term>, n.enr && <><code class="long">{n.enr}</code> <Copy text={n.enr} label="node record" /></>],
          ...(entries ?? []).map(([k, v]): [string, preact.ComponentChildren] => ["record: " + k, <code class="long">{v}</code>]),
        ]}
      />
    </Card>
  );
}

function Seen({ n, meta }: Of) {
  return (
    <Card class="half" title="Observations" meta={meta} method="A node is seen when it completes a handshake or announces subscriptions in a watch.">
      <Facts
        facts={[
          ["First seen", time(n.first_seen)],
          ["Last seen", `${time(n.last_seen)} (${ago(n.last_seen)})`],
          [<Term name="handshake">Handshakes</Term>, num(n.observations)],
          [<Term name="watched epochs">Watched epochs</Term>, known(n.epochs_watched) ? n.epochs_watched.toFixed(1) : ""],
          ["Last visit", n.last_outcome && outcomeName(n.last_outcome)],
          ["Connection", [n.direction, n.transport].filter(Boolean).join(", ")],
          ["In totals", n.counted ? `counts, weight ${(n.weight ?? 1).toFixed(2)}` : "does not count: not met in the last day, or a newer peer id at its address"],
          ["Evidence used", n.trust === "wide" ? "all, with a wider interval: the rate of its release differs from the assumed one, or is not known to within a tenth" : n.trust],
          ["This number since", n.since ? time(n.since) : ""],
          ["Unusual", n.flags?.length ? n.flags.map((f) => <Chip key={f}>{f.replaceAll("_", " ")}</Chip>) : "nothing"],
        ]}
      />
    </Card>
  );
}

const reachedWords = (reachable: boolean | null) => (known(reachable) ? (reachable ? "reached" : "not reached") : "not tried");

/** Who sees the node, and who does not. */
function SeenFrom({ n, meta }: Of) {
  if (n.seen_by.length < 2) return null;
  return (
    <Card class="full" title="Seen from" meta={meta} sub="what each sentry knows about the node" method="Reached: by a handshake or in a watch of the last day. Subnets: at the last handshake; “differ” means that another sentry saw different ones within an epoch, which may also be due to a duty that began or ended in between." rows={n.seen_by.map((s) => ({ ...s }))}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table: Seen from">
        <table>
          <thead>
            <tr>
              <th scope="col">Sentry</th>
              <th scope="col">Location</th>
              <th scope="col">In the last day</th>
              <th scope="col" class="n">
                Last seen
              </th>
              <th scope="col">Last visit</th>
              <th scope="col" class="n">
                Handshake
              </th>
              <th scope="col" class="n">
                Subnets
              </th>
            </tr>
          </thead>
          <tbody>
            {n.seen_by.map((s) => (
              <tr key={s.sentry}>
                <td>{s.sentry}</td>
                <td>{s.location ?? "–"}</td>
                <td>{reachedWords(s.reachable)}</td>
                <td class="n" title={time(s.last_seen)}>
                  {known(s.last_seen) ? ago(s.last_seen) : "never"}
                </td>
                <td>{s.last_outcome ? `${outcomeName(s.last_outcome)}, ${ago(s.last_visit)}` : "–"}</td>
                <td class="n">{known(s.handshake_ms) ? `${num(s.handshake_ms)} ms` : "–"}</td>
                <td class="n">
                  {num(s.subscribed_subnets)}
                  {s.subscriptions_differ && ", differ"}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

interface Event {
  at: number | null;
  what: string;
  value: preact.ComponentChildren;
  text: string;
}

/** What is known of the node's earlier selves, the newest first: ids at its address, addresses, custody group counts, and releases by the day. */
function earlier(n: NodeDetail): Event[] {
  const events: Event[] = n.other_ids.map((o) => ({ at: o.last_seen, what: "other peer id at its address, last seen", value: <a href={href("/node/" + o.id)}><code class="long">{o.id}</code></a>, text: o.id }));
  for (const e of n.endpoints ?? []) events.push({ at: e.first, what: "reached at an address, until " + time(e.last), value: <code class="long">{e.address}</code>, text: e.address });
  n.custody_history.forEach((c, i, all) => events.push({ at: c.at, what: "custody groups", value: num(c.count) + (i > 0 ? `, before ${num(all[i - 1].count)}` : ""), text: String(c.count) }));
  n.days.forEach((d, i, all) => {
    const before = all[i - 1];
    if (before && (before.client !== d.client || before.version !== d.version)) {
      const text = `${clientName(d.client)} ${releaseName(d.version)}, before ${clientName(before.client)} ${releaseName(before.version)}`;
      events.push({ at: Date.parse(d.date), what: "different client or release, on this day", value: text, text });
    }
  });
  return events.sort((a, b) => (b.at ?? 0) - (a.at ?? 0));
}

function IdentityHistory({ n, meta }: Of) {
  const events = earlier(n);
  return (
    <Card class="full" title="Identity history" meta={meta} sub="changes of the node's identity, newest first" method={`Peer ids change when a node gets a new key. ${n.endpoints ? "" : "Addresses are shown with a key."}`} rows={events.map((e) => ({ at: e.at && new Date(e.at).toISOString(), what: e.what, value: e.text }))} empty={!events.length && "No earlier ids, releases or custody group counts are known."}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table: Identity history">
        <table class="wrap">
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">What</th>
              <th scope="col">Value</th>
            </tr>
          </thead>
          <tbody>
            {events.map((e, i) => (
              <tr key={i}>
                <td title={time(e.at)}>{ago(e.at)}</td>
                <td>{e.what}</td>
                <td>{e.value}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** Times between which the number changed. */
function Stretches({ n, meta }: Of) {
  const list = n.evidence?.stretches ?? [];
  if (list.length < 2) return null;
  return (
    <Card class="full" title="When the number changed" meta={meta} sub="periods in which it stayed the same, newest first" method="A change is assumed where two numbers fit the subscriptions before and after better than one. The current estimate is that of the newest period." rows={list.map((s) => ({ ...s }))}>
      <ul class="plain">
        {[...list].reverse().map((s) => (
          <li key={s.from}>
            {time(s.from)} to {time(s.to)}: <Estimate v={s.validators} low={s.validators_low} high={s.validators_high} />
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** Days of observation; a line between two where client or release changed. */
function Days({ n, meta }: Of) {
  return (
    <Card class="full" title="History" meta={meta} sub="days with observations, newest first; lines mark a different client or release" rows={n.days.map((d) => ({ ...d }))} method="A cell is a slot and subnet, or a longer period and a subnet, with or without a duty." empty={!n.days.length && "No day of observations yet."}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table: Days">
        <table>
          <thead>
            <tr>
              <th scope="col">Day</th>
              <th scope="col">Client</th>
              <th scope="col" class="n">
                Watched epochs
              </th>
              <th scope="col" class="n">
                Duties seen
              </th>
              <th scope="col" class="n">
                Cells empty
              </th>
            </tr>
          </thead>
          <tbody>
            {[...n.days].reverse().map((d, i, all) => (
              <tr key={d.date + d.version} class={i > 0 && (all[i - 1].version !== d.version || all[i - 1].client !== d.client) ? "break" : ""}>
                <td>{d.date}</td>
                <td>
                  {clientName(d.client)} {clientName(d.client) === clientName(null) ? "" : releaseName(d.version)}
                </td>
                <td class="n">{d.epochs_watched.toFixed(1)}</td>
                <td class="n">{num(d.cells_on)}</td>
                <td class="n">{num(d.cells_off)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

export function NodePage({ id }: { id: string }) {
  const node = useAPI("/api/v1/nodes/{id}", { id });
  const observed = useAPI(isSite ? null : "/api/v1/nodes/{id}/observations", { id });
  const epochs = useMemo(() => [...((observed.answer?.data.epochs ?? []) as Epoch[])].sort((a, b) => a.epoch - b.epoch), [observed.answer]);
  const began = node.answer?.data.first_seen ?? 0;
  // An estimate is of an hour and carries its beginning, at which the node may not have been met.
  const estimates = useMemo(() => {
    const all = [...(observed.answer?.data.estimates ?? [])].filter((e) => known(e.time)).map((e) => ({ ...e, time: Math.max(e.time!, began) }));
    return all.sort((a, b) => a.time - b.time).filter((e, i) => e.time !== all[i + 1]?.time);
  }, [observed.answer, began]);
  const history = useMemo(
    () => ({
      times: estimates.map((e) => e.time),
      series: [{ name: "validators", colour: "--validators", values: estimates.map((e) => e.validators), low: estimates.map((e) => e.validators_low), high: estimates.map((e) => e.validators_high) }],
    }),
    [estimates],
  );
  if (node.loading) return <div class="grid" role="status" aria-label="Loading" />;
  if (!node.answer && node.problem?.status === 404)
    return (
      <div class="card nothing">
        <h1>Node not seen</h1>
        <p>
          No node with the id <code class="long">{id}</code> is {isSite ? "in this copy, which has those of the last day" : "known"}. <NotSeen /> <a href={href("/nodes")}>All nodes</a>
        </p>
      </div>
    );
  if (!node.answer) return <NothingYet problem={node.problem} />;
  const n = node.answer.data as NodeDetail;
  const meta = node.answer.meta;
  return (
    <>
      <div class="card nodehead">
        <div>
          <h1>{n.client ? `${clientName(n.client)} ${releaseName(n.client_release)}` : clientName(null)}</h1>
          <p class="sub">
            <code class="long">{n.id}</code> <Copy text={n.id!} label="peer id" />
          </p>
          <p class="why">{n.why || "The explanation of this number, the subscriptions seen, and the node's history are on the server that this copy was made from."}</p>
        </div>
        <dl>
          <dt>
            <Term name="90 % interval">Validators (estimate)</Term>
          </dt>
          <dd>
            <strong>{num(n.validators)}</strong>
            <span>{range(n.validators_low, n.validators_high)}</span>
            <span class="sub">at least one: {pct(n.p_validator)}</span>
          </dd>
        </dl>
      </div>
      <div class="grid">
        {!isSite && <Card class="full" title="Subscription timeline" sub="epochs by 64 attestation subnets" meta={observed.answer?.meta} loading={observed.loading} problem={observed.problem} method={<>From <Term name="watch">watches</Term> and <Term name="handshake">handshakes</Term> of the last day. A <Term name="short-lived subnet">short-lived subscription</Term> is a validator's duty.</>} rows={epochs.map((e) => ({ epoch: e.epoch, long_lived: e.long_lived_subnets.join(" "), short_lived: e.short_lived_subnets?.join(" ") }))} empty={observed.answer && !epochs.length && "Nothing was observed in the last day."}>
          {epochs.length > 0 && <Timeline epochs={epochs} />}
        </Card>}
        {(n.posterior?.length ?? 0) > 1 && (
          <Card class="half" title="Estimate" sub="probability of at most this many validators; shaded: 90 % interval; dashed: median" meta={meta} method={<>The <Term name="posterior" /> from all evidence. {wider(n) && `The interval is wider than this curve because the node is flagged: ${wider(n)}.`}</>} rows={n.posterior?.map((p) => ({ ...p }))}>
            <Posterior n={n} />
          </Card>
        )}
        {!isSite && <Card class={n.posterior?.length ? "half" : "full"} title="What each signal says" sub="alone, with its 90 % interval; logarithmic scale" meta={meta} method="Signals are combined into the posterior; a signal that says nothing does not change it." rows={signals.map(([k, name]) => ({ signal: name, validators: n.signals[k]?.validators, validators_low: n.signals[k]?.validators_low, validators_high: n.signals[k]?.validators_high }))}>
          <Signals n={n} />
        </Card>}
        {!isSite && <Card class="full" title="Estimate over time" sub="median with its 90 % interval" meta={observed.answer?.meta} method="Each estimate uses all evidence available at that time." rows={estimates.map((e) => ({ time: new Date(e.time).toISOString(), validators: e.validators, validators_low: e.validators_low, validators_high: e.validators_high }))} empty={estimates.length < 2 && "Fewer than two estimates yet."}>
          <Plot {...history} label="Estimate over time; the table has the numbers" height={180} />
        </Card>}
        <Identity n={n} meta={meta} />
        <Seen n={n} meta={meta} />
        {!isSite && <SeenFrom n={n} meta={meta} />}
        {!isSite && <IdentityHistory n={n} meta={meta} />}
        {!isSite && <Stretches n={n} meta={meta} />}
        {!isSite && <Days n={n} meta={meta} />}
      </div>
    </>
  );
}
