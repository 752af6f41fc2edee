import { useAPI, type Concentration, type Group, type Meta } from "../api";
import { holders, index, type Share } from "../bounds";
import { groupName, known, num, pct, range } from "../format";
import { Term } from "../glossary";
import { href, type Params } from "../route";
import { Bars } from "../ui/bits";
import { Card } from "../ui/card";
import { NothingYet } from "../ui/states";
import { methods } from "./overview";

interface Kind {
  title: string;
  one: string;
  many: string;
  filter: (g: Group) => Params;
}

const kinds: Record<string, Kind> = {
  client: { title: "By client", one: "client", many: "clients", filter: (g) => ({ client: g.name }) },
  network: { title: "By network (AS)", one: "network", many: "networks", filter: (g) => ({ asn: g.code }) },
  cloud: { title: "By cloud", one: "cloud", many: "clouds", filter: (g) => ({ cloud: g.name }) },
  country: { title: "By country", one: "country", many: "countries", filter: (g) => ({ country: g.code ?? g.name }) },
};

const shown = 8;

/** Groups with their shares of the validators, the largest first. */
function shares(groups: Group[]) {
  return groups
    .filter((g) => g.name && g.name !== "other" && known(g.validators))
    .sort((a, b) => b.validators! - a.validators!)
    .map((group) => ({ group, share: group.share_validators ?? 0, low: group.share_validators_low ?? null, high: group.share_validators_high ?? null }));
}

/** Two networks may have one name: the number tells them apart. */
const label = (g: Group) => groupName(g.name) + (g.by === "network" && g.code ? ` (AS${g.code})` : "");

/** How many groups hold a part, and how many it could be at the ends of the intervals of their shares. */
function Holders({ count, list, unknown, part, kind }: { count: number | null; list: Share[]; unknown: number; part: number; kind: Kind }) {
  const [low, high] = holders(list, unknown, part);
  return (
    <dd>
      {known(count) ? `${num(count)} ${count === 1 ? kind.one : kind.many}` : "unknown"}
      <span class="sub">{low === null ? "" : high === null ? `${num(low)} or more` : low === high ? `${num(low)} at both ends` : `${num(low)} to ${num(high)}`}</span>
    </dd>
  );
}

function Shares({ c, groups, meta }: { c: Concentration; groups: Group[]; meta: Meta }) {
  const kind = kinds[c.by] ?? { title: c.by, one: "group", many: "groups", filter: () => ({}) };
  const list = shares(groups);
  const unknown = 1 - (c.known_share ?? 0);
  const [low, high] = index(list, unknown);
  return (
    <Card
      class="half"
      title={kind.title}
      sub={c.largest ? `${groupName(c.largest)} has ${pct(c.largest_share)} (${range(c.largest_share_low, c.largest_share_high, pct)})` : "not known"}
      method={<>{methods.validators} Below each number: its range at the ends of the intervals.</>}
      meta={meta}
      rows={list.map(({ group: g, share, low, high }) => ({ name: label(g), share, share_low: low, share_high: high, validators: g.validators, validators_low: g.validators_low, validators_high: g.validators_high }))}
      empty={!c.largest && `No ${kind.one} is known.`}
    >
      <dl class="trio">
        <div>
          <dt>At least a third</dt>
          <Holders count={c.third} list={list} unknown={unknown} part={1 / 3} kind={kind} />
        </div>
        <div>
          <dt>At least two thirds</dt>
          <Holders count={c.two_thirds} list={list} unknown={unknown} part={2 / 3} kind={kind} />
        </div>
        <div>
          <dt>
            <Term name="HHI" />
          </dt>
          <dd>
            {num(c.hhi)}
            <span class="sub">{low === null ? "" : `${num(low)} to ${num(high)}`}</span>
          </dd>
        </div>
        <div>
          <dt>With a known {kind.one}</dt>
          <dd>
            {pct(c.known_share)}
            <span class="sub">of the validators</span>
          </dd>
        </div>
      </dl>
      <Bars
        max={Math.max(0.7, ...list.map((s) => s.high ?? 0))}
        lines={[1 / 3, 1 / 2, 2 / 3]}
        bars={list.slice(0, shown).map(({ group: g, share, low, high }) => ({
          key: `${g.code} ${g.name}`,
          label: <a href={href("/nodes", kind.filter(g))}>{label(g)}</a>,
          value: share,
          text: known(low) ? `${pct(share)} (${range(low, high, pct)})` : `${pct(share)} · ${num(g.validators)} (${range(g.validators_low, g.validators_high)})`,
          low,
          high,
          colour: "var(--validators)",
        }))}
      />
    </Card>
  );
}

export function ConcentrationPage() {
  const all = useAPI("/api/v1/concentration");
  const clients = useAPI("/api/v1/clients").answer?.data.filter((g) => g.by === "client");
  const networks = useAPI("/api/v1/networks").answer?.data;
  const clouds = useAPI("/api/v1/hosting").answer?.data.filter((g) => g.by === "cloud");
  const countries = useAPI("/api/v1/countries").answer?.data;
  if (!all.answer) return all.loading ? <div class="grid" role="status" aria-label="Loading" /> : <NothingYet problem={all.problem} />;
  const groups: Record<string, Group[] | undefined> = { client: clients, network: networks, cloud: clouds, country: countries };
  return (
    <>
      <p class="lead">
        Whoever controls more than a third of the validators can stop finality; with two thirds they can finalise an invalid chain. This page shows how few clients, networks, clouds or countries together have at least a third, and two thirds, of the estimated <Term name="attachments">validators</Term>, with <Term name="90 % interval">90 % intervals</Term>. Lines at 33, 50 and 66 %.
      </p>
      <div class="grid">
        {all.answer.data.map((c) => (
          <Shares key={c.by} c={c} groups={groups[c.by] ?? []} meta={all.answer!.meta} />
        ))}
      </div>
    </>
  );
}
