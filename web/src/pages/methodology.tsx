import { useAPI } from "../api";
import { known, num, pct, range } from "../format";
import { glossary } from "../glossary";

const verdicts: Record<string, string> = {
  "too few": "not possible, too few nodes were met",
  passed: "passed, it is within what validators on several nodes explain",
  failed: "failed, it is more than validators on several nodes explain",
  low: "low, a crawl of the whole network finds more: part of it was not reached, or it is simulated",
  unsure: "unsure, too much depends on a few network prefixes",
};

export function MethodologyPage() {
  const v = useAPI("/api/v1/summary").answer?.data.validators;
  return (
    <div class="grid prose">
      <article class="card full">
        <h2>What a node shows</h2>
        <p>Every active validator attests once per epoch, in a random slot and committee. A few members of each committee aggregate: their node joins the committee's attestation subnet for a short time. Joining is announced to every peer, so each announcement reveals a duty of one validator, and the rate of announcements grows with the number of validators. On mainnet a validator aggregates about once in 29 epochs.</p>
        <p>Nodes also keep two long-lived subnets for the health of the network; those are left out.</p>
        <p>Three more signals: the custody group count, which since Fulu grows with the stake behind the node; the sync committee subnets; and the client with its release, which determine how announcements are read.</p>
        <h2>From there to a number</h2>
        <p>Each node gets a probability for every number of validators, from a prior that is refitted to the crawl every hour and from everything that was observed. The number shown is the median. The interval is the middle 90 %: in simulation it contains the truth nine times in ten.</p>
        <p>A node on all 64 subnets shows nothing by its subnets, so its interval is wide. A client release whose behaviour does not fit the assumptions is trusted less, or its subnets are not used at all. Nodes with unusual estimates carry flags.</p>
        <h2>Totals</h2>
        <p>
          Totals are of validators as they are seen at nodes, <em>attachments</em>: a validator that runs behind two nodes counts on both. Their interval includes the errors that nodes of one client share.
          {v && (
            <>
              {" "}
              Now: {num(v.attachments)} ({range(v.attachments_low, v.attachments_high)}) against {num(v.active)} active validators{v.active_ratio ? `, ${v.active_ratio.toFixed(2)} per active validator` : ""}
              {v.unreached_share ? `; ${pct(v.unreached_share)} of them are behind no node that was reached` : ""}. {known(v.hidden_validators) && v.hidden_validators > 0 && `Beyond the interval up to ${num(v.hidden_validators)} more may be behind ${num(v.silent_nodes)} nodes that show no duty of the validators that their custody groups require. `}Check of the total: {verdicts[v.verdict ?? ""] ?? v.verdict ?? "not possible yet"}.
            </>
          )}
        </p>
        <p>Nodes in one network prefix are weighed together, so that one machine with many identities cannot decide a total. When that limits a prefix, the interval reaches to what it claims.</p>
        <h2>Places and networks</h2>
        <p>The place of a node is that of its address in geolocation data, which is often the provider's, and can be wrong by a city or a country. The network (AS) comes from routing data; its type from a table of known networks and rules on their names. The public view has coordinates rounded to 0.1 degree and leaves out cities with fewer than five nodes, except on a simulated network, where nobody lives in them.</p>
        <h2>What is not known</h2>
        <p>Nodes that accept no connection are not counted, nor are the validators behind them. Validators that run through several nodes are counted on each. Which validator is behind which node is never estimated.</p>
        <p>The whole method with its tests and figures is in docs/methodology.md of the source.</p>
      </article>
      <section class="card full" aria-labelledby="glossary">
        <h2 id="glossary">Glossary</h2>
        <dl class="glossary">
          {Object.entries(glossary).map(([term, text]) => (
            <div key={term}>
              <dt>{term}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
      </section>
    </div>
  );
}
