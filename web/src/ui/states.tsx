import type { Problem } from "../api";
import { useAPI } from "../api";
import { num } from "../format";
import { isSite } from "../site";

export const historyBegins = "History has a point per hour. With the second one there is a line.";

/** What to do when there is nothing to show yet. */
export function NothingYet({ problem }: { problem?: Problem }) {
  const crawl = useAPI(problem?.status === 0 || isSite ? null : "/api/v1/crawl").answer?.data;
  const f = crawl?.funnel;
  const waiting = crawl?.events.lag ?? 0;
  let text = "Nothing is stored yet. Nodes appear here with the first commit, a minute after a sentry has found the first ones.";
  if (isSite && problem) text = problem.message;
  else if (problem?.status === 0) text = problem.message;
  else if (f && f.records > 0 && f.connected === 0) text = `${num(f.records)} records found, no peer reached yet: are UDP and TCP (port 9000 by default) open for outgoing traffic?`;
  else if (f && f.connected > 0 && f.status === 0) text = `${num(f.connected)} peers connected, none completed a handshake: is this the right network and fork?`;
  else if (f && f.status > 0) text = "No node completed a handshake in the last day: does a sentry run, and does it reach the internet?";
  else if (crawl && !crawl.events.last_commit) text += waiting > 0 ? ` ${num(waiting)} events wait for it.` : "";
  else if (f && f.records === 0) text = "No record found yet. If this stays so for a minute: is UDP (port 9000 by default) open, and are the bootnodes of this network?";
  else if (problem) text = problem.message;
  return (
    <div class="card nothing" role="status">
      <h2>{problem?.status === 0 ? "No connection to the server" : "No numbers yet"}</h2>
      <p>{text}</p>
      {crawl?.reason && <p class="sub">{crawl.reason}</p>}
      {problem && problem.status > 0 && <p class="sub">{problem.message}</p>}
    </div>
  );
}
