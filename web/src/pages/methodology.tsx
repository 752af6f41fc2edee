import { useAPI } from "../api";
import { known, num, pct, range } from "../format";
import { glossary } from "../glossary";

const verdicts: Record<string, string> = {
  "too few": "not possible, too few nodes were reached",
  passed: "passed: validators on several nodes can explain it",
  failed: "failed: it is more than validators on several nodes can explain",
  low: "low: a crawl of the whole network finds more, so part of it was not reached, or it is simulated",
  unsure: "unsure: too much depends on a few network prefixes",
};

export function MethodologyPage() {
  const v = useAPI("/api/v1/summary").answer?.data.validators;
  return (
    <div class="grid prose">
      <article class="card full">
        <h2>What a node shows</h2>
        <p>Every active validator attests once per epoch, in a random slot and committee. A few members of each committee are aggregators: their node subscribes to the committee's attestation subnet for a short time. The subscription is announced to every peer, so each announcement reveals one validator's duty, and the rate of announcements grows with the number of validators. On mainnet a validator aggregates about once in 29 epochs.</p>
        <p>Nodes also stay subscribed to two long-lived subnets for the health of the network; these are not counted.</p>
        <p>There are three more signals: the custody group count, which since Fulu grows with the stake of the node's validators; the sync committee subnets; and the client with its release, which determine how announcements are interpreted.</p>
        <h2>From announcements to a number</h2>
        <p>For each node, every number of validators gets a probability, from a prior that is refitted to the crawl every hour and from everything that was observed. The number shown is the median. The interval is the middle 90 %: in simulation it contains the truth nine times in ten.</p>
        <p>The subnets of a node on all 64 subnets are not evidence, so its interval is wide. For a client release that does not behave as assumed, or whose rate of duties is not known to within a tenth, the intervals are wider. Nodes with unusual estimates have flags.</p>
        <h2>Totals</h2>
        <p>
          Totals count validators as they are seen at nodes, <em>attachments</em>: a validator that runs on two nodes is counted at both. Their interval includes the errors that nodes of one client share.
          {v && (
            <>
              {" "}
              Now: {num(v.attachments)} ({range(v.attachments_low, v.attachments_high)}) against {num(v.active)} active validators{v.active_ratio ? `, ${v.active_ratio < 0.1 ? v.active_ratio.toPrecision(2) : v.active_ratio.toFixed(2)} per active validator` : ""}
              {v.unreached_share ? `; ${pct(v.unreached_share)} of them do not run on any node that was reached` : ""}. {known(v.hidden_validators) && v.hidden_validators > 0 && `Beyond the interval up to ${num(v.hidden_validators)} more may run on nodes (${num(v.silent_nodes)}) whose custody groups require validators but that show no duties. `}Check of the total: {verdicts[v.verdict ?? ""] ?? v.verdict ?? "not possible yet"}.
            </>
          )}
        </p>
        <p>Nodes in one network prefix are weighted together, so that one machine with many identities cannot dominate a total. When a prefix is limited, the interval extends to what it claims.</p>
        <h2>Locations and networks</h2>
        <p>A node's location is that of its address in geolocation data. It is often the provider's, and may be the wrong city or country. The network (AS) comes from routing data; its type comes from a table of known networks and rules about their names. The public view rounds coordinates to 0.1 degree and leaves out cities with fewer than five nodes, except on a simulated network.</p>
        <h2>What is not known</h2>
        <p>Nodes that accept no connection are not counted, nor are their validators. Validators that run on several nodes are counted at each. Which validator runs on which node is never estimated.</p>
        <p>The complete method with its tests and figures is in docs/methodology.md of the source repository.</p>
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
