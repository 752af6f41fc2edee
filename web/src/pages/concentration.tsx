import { useAPI, type Group } from "../api";
import { groupName, known, num, pct, range } from "../format";
import { Term } from "../glossary";
import { Bars } from "../ui/bits";
import { Card } from "../ui/card";
import { NothingYet } from "../ui/states";
import { methods } from "./overview";

const names: Record<string, [string, string]> = { client: ["By client", "clients"], network: ["By network (AS)", "networks"], cloud: ["By cloud", "clouds"], country: ["By country", "countries"] };

/** The groups with the largest shares of the validators. Two networks may have one name: the code tells them apart. */
function shares(groups: Group[], by: string) {
  return groups
    .filter((g) => g.name && known(g.validators))
    .sort((a, b) => b.validators! - a.validators!)
    .slice(0, 8)
    .map((g) => ({ key: `${g.code} ${g.name}`, name: by === "network" && g.code ? `${g.name} (AS${g.code})` : g.name!, share: g.share_validators ?? 0, low: g.share_validators_low ?? null, high: g.share_validators_high ?? null, validators: g.validators, validators_low: g.validators_low, validators_high: g.validators_high }));
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
        More than a third of the validators in one place can stop finality; two thirds can finalise a wrong chain. How many clients, networks, clouds and countries together hold that much of the estimated <Term name="attachments">validators</Term>, with <Term name="90 % interval">90 % intervals</Term>.
      </p>
      <div class="grid">
        {all.answer.data.map((c) => {
          const list = shares(groups[c.by] ?? [], c.by);
          const [title, plural] = names[c.by] ?? [c.by, "groups"];
          return (
            <Card
              key={c.by}
              class="half"
              title={title}
              sub={c.largest ? `${groupName(c.largest)} has ${pct(c.largest_share)} (${range(c.largest_share_low, c.largest_share_high, pct)})` : "not known"}
              method={methods.validators}
              meta={all.answer!.meta}
              rows={list}
              empty={!c.largest && `No ${plural} known.`}
            >
              <dl class="trio">
                <div>
                  <dt>{plural} with a third</dt>
                  <dd>{known(c.third) ? num(c.third) : "unknown"}</dd>
                </div>
                <div>
                  <dt>{plural} with two thirds</dt>
                  <dd>{known(c.two_thirds) ? num(c.two_thirds) : "unknown"}</dd>
                </div>
                <div>
                  <dt>
                    <Term name="HHI" />
                  </dt>
                  <dd>{known(c.hhi) ? c.hhi.toFixed(0) : "unknown"}</dd>
                </div>
                <div>
                  <dt>of validators known</dt>
                  <dd>{pct(c.known_share)}</dd>
                </div>
              </dl>
              <Bars max={Math.max(0.7, ...list.map((s) => s.high ?? 0))} lines={[1 / 3, 1 / 2, 2 / 3]} bars={list.map((s) => ({ key: s.key, label: groupName(s.name), value: s.share, text: known(s.low) ? `${pct(s.share)} (${range(s.low, s.high, pct)})` : `${pct(s.share)} · ${num(s.validators)} (${range(s.validators_low, s.validators_high)})`, low: s.low, high: s.high, colour: "var(--validators)" }))} />
            </Card>
          );
        })}
      </div>
    </>
  );
}
