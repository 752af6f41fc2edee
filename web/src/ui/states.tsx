import type { ComponentChildren } from "preact";
import { hasKey, setKey, useAPI, type Crawl, type Problem } from "../api";
import { num } from "../format";
import { href } from "../route";
import { isSite } from "../site";

export const historyBegins = "The history has one point per hour. A line appears with the second one.";

const keyPage = <a href={href("/data")}>Data and API</a>;

/** What is wrong, in a few words, and what can be done about it beside what the server says. */
function explained(problem: Problem): [string, ComponentChildren] {
  switch (problem.status) {
    case 0:
      return [isSite ? "The files cannot be read" : "No connection to the server", isSite ? "" : "Is valtrack still running at this address?"];
    case 401:
      return [
        "The key is not accepted",
        <>
          <button type="button" class="link" onClick={() => setKey("")}>
            Forget the key
          </button>{" "}
          to see the public view, or set another one under {keyPage}.
        </>,
      ];
    case 403:
      return ["This needs a key", <>The operator of this server can give you one; set it under {keyPage}.</>];
    case 404:
      return ["Not found", isSite ? "A static copy has less than the server that it was made from." : ""];
    case 429:
      return ["Too many requests", `The server accepts the next one${problem.retryAfter ? ` in ${num(problem.retryAfter)} s` : " soon"}. The page retries automatically${hasKey() ? "" : "; with a key more are allowed"}.`];
    default:
      return problem.status >= 500 ? ["The server cannot answer right now", "The page retries automatically."] : ["The server does not accept this request", ""];
  }
}

/** A request that failed. */
export function Failed({ problem }: { problem: Problem }) {
  const [title, advice] = explained(problem);
  return (
    <div class="card nothing" role="alert">
      <h2>{title}</h2>
      <p>{problem.message}</p>
      {advice && <p>{advice}</p>}
    </div>
  );
}

/** Why no node is known yet, as far as the crawl shows it. */
function waiting(c?: Crawl): string {
  const f = c?.funnel;
  const lag = c?.events.lag ?? 0;
  if (f && f.records > 0 && f.connected === 0) return `${num(f.records)} records found, no peer reached yet: are UDP and TCP (port 9000 by default) open for outgoing traffic?`;
  if (f && f.connected > 0 && f.status === 0) return `${num(f.connected)} peers connected, none completed a handshake: is this the right network and fork?`;
  if (f && f.status > 0) return "No node was seen in the last day: is a sentry running, and can it reach the internet?";
  if (f && f.records === 0 && c.events.last_commit) return "No record found yet. If that does not change within a minute: is UDP (port 9000 by default) open, and do the bootnodes belong to this network?";
  return "Nothing is stored yet. Nodes appear here with the first commit, a minute after a sentry has found the first ones." + (lag > 0 ? ` ${num(lag)} events are waiting for it.` : "");
}

/** What to do when there is nothing to show: no data yet, or a problem. */
export function NothingYet({ problem }: { problem?: Problem }) {
  const crawl = useAPI(problem || isSite ? null : "/api/v1/crawl").answer?.data;
  if (problem) return <Failed problem={problem} />;
  return (
    <div class="card nothing" role="status">
      <h2>No numbers yet</h2>
      <p>{isSite ? "No node was known when this copy was made." : waiting(crawl)}</p>
      {crawl?.reason && <p class="sub">{crawl.reason}</p>}
      {!isSite && (
        <p class="sub">
          State of the crawl: <a href={href("/crawl")}>Crawl health</a>.
        </p>
      )}
    </div>
  );
}
