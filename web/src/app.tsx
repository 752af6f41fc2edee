import { useEffect, useRef, useState } from "preact/hooks";
import { useAPI, type Meta, type Problem } from "./api";
import { ago, duration, known } from "./format";
import { useLive } from "./live";
import { ChangesPage } from "./pages/changes";
import { ClientsPage } from "./pages/clients";
import { ConcentrationPage } from "./pages/concentration";
import { CrawlPage } from "./pages/crawl";
import { DataPage } from "./pages/data";
import { MapPage } from "./pages/map";
import { MethodologyPage } from "./pages/methodology";
import { NodePage } from "./pages/node";
import { Nodes } from "./pages/nodes";
import { Overview } from "./pages/overview";
import { SubnetsPage } from "./pages/subnets";
import { href, useRoute } from "./route";
import { NothingYet } from "./ui/states";
import { current, isSite, type Manifest } from "./site";
import { toggleTheme, useTheme } from "./theme";

/** Pages that say something before there are data. */
const early = ["/crawl", "/data", "/methodology"];

const pages: [string, string, () => preact.JSX.Element][] = [
  ["/", "Overview", Overview],
  ["/map", "Map", MapPage],
  ["/nodes", "Nodes", Nodes],
  ["/clients", "Clients", ClientsPage],
  ["/subnets", "Subnets", SubnetsPage],
  ["/concentration", "Concentration", ConcentrationPage],
  ["/changes", "Changes", ChangesPage],
  ["/crawl", "Crawl health", CrawlPage],
  ["/data", "Data and API", DataPage],
  ["/methodology", "Methodology", MethodologyPage],
];

const old = 2 * 3600_000; // ms

const ageOf = (meta?: Meta) => (known(meta?.as_of) ? Date.now() - meta!.as_of! : null);

/** Says of old data why they may be so. */
function OldData({ meta }: { meta?: Meta }) {
  const age = ageOf(meta);
  if (age === null || age <= old) return null;
  return (
    <aside class="banner bad" aria-label="Old data">
      The newest data is {duration(age)} old. {isSite ? "This copy has not been updated, or its server has received nothing since." : <>No sentry's events have been stored since then: <a href={href("/crawl")}>Crawl health</a> shows the last event of each sentry.</>}
    </aside>
  );
}

/** Network, connection and age of the data. */
function Status({ meta, problem }: { meta?: Meta; problem?: Problem }) {
  const live = useLive();
  const age = ageOf(meta);
  const bad = live === "lost" || problem || (age !== null && age > old);
  return (
    <span class={"status " + (bad ? "bad" : live)} role="status">
      <i aria-hidden="true" />
      {meta?.network ? meta.network + " · " : ""}
      {problem?.status === 401 ? "key not accepted" : problem?.status ? `error ${problem.status}, retrying` : live === "lost" || problem ? "no connection, retrying" : age === null ? "waiting for data" : (isSite ? "static copy, data " : "data ") + (age < old ? ago(meta!.as_of) : duration(age) + " old")}
    </span>
  );
}

/** What a static copy is, and what it cannot do. */
function CopyNote({ meta }: { meta?: Meta }) {
  const [copy, set] = useState<Manifest | null>(null);
  useEffect(() => void current().then(set, () => set(null)), [meta]);
  return (
    <aside class="banner" aria-label="Static copy">
      Static copy{copy && `, made ${ago(copy.made)}${copy.every_ms ? ` and updated every ${duration(copy.every_ms)}` : ""}`}, with the nodes of the last day. Live updates, search by record or address, the evidence for individual nodes and the datasets are on the server that it was made from.
    </aside>
  );
}

function Sources({ meta }: { meta?: Meta }) {
  return (
    <footer class="page">
      <p>
        Numbers of validators are estimates with 90 % intervals: <a href={href("/methodology")}>how</a>. {meta?.public !== false && "Public view: no addresses. "}
        {meta?.geo_sources?.map((s) => (
          <span key={s.name}>
            {s.url ? (
              <a href={s.url} rel="noreferrer">
                {s.name}
              </a>
            ) : (
              s.name
            )}{" "}
            ({s.licence}
            {s.date ? ", " + s.date : ""}).{" "}
          </span>
        ))}
        Coastlines: Natural Earth.
      </p>
    </footer>
  );
}

/** The text of a part of a link; a part that is none is shown as it is. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function App() {
  const { path } = useRoute();
  const theme = useTheme();
  const { answer: summary, problem } = useAPI("/api/v1/summary");
  const meta = summary?.meta;
  const main = useRef<HTMLElement>(null);
  const nav = useRef<HTMLElement>(null);
  const shown = useRef(path);
  const node = path.startsWith("/node/") ? decoded(path.slice(6)) : null;
  const page = pages.find(([p]) => p === path);
  const title = node ? "Node" : (page?.[1] ?? "Not found");
  useEffect(() => {
    document.title = `${title} · Valtrack${meta ? " " + meta.network : ""}`;
  }, [title, meta?.network]);
  useEffect(() => {
    // On a phone the list of pages is wider than the screen.
    const link = nav.current?.querySelector<HTMLElement>("[aria-current]");
    if (link) nav.current!.scrollLeft = link.offsetLeft - (nav.current!.clientWidth - link.offsetWidth) / 2;
  }, [path]);
  useEffect(() => {
    if (shown.current === path) return; // the first page keeps the browser's focus
    shown.current = path;
    main.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [path]);
  const nothing = summary?.data.nodes.known === 0 && !early.includes(path);
  const Page = nothing ? NothingYet : page?.[2];
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href={href("/")}>
          <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
            <path fill="var(--accent)" d="M16 2 6 17l10 6 10-6z" />
            <path fill="var(--c-prysm)" d="M6 19l10 11 10-11-10 6z" />
          </svg>
          Valtrack
        </a>
        <nav aria-label="Pages" ref={nav}>
          {pages.map(([p, name]) => (
            <a key={p} href={href(p)} aria-current={p === path || (node && p === "/nodes") ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <Status meta={meta} problem={problem} />
        <button type="button" class="theme" onClick={toggleTheme} aria-label={theme === "dark" ? "Light theme" : "Dark theme"}>
          {theme === "dark" ? "☀" : "☾"}
        </button>
      </header>
      {meta?.simulated && (
        <aside class="banner" aria-label="Simulated network">
          Simulated network: real nodes on one machine, with made-up locations and validators.
        </aside>
      )}
      <OldData meta={meta} />
      {isSite && <CopyNote meta={meta} />}
      <main ref={main} tabIndex={-1} id="main">
        {(nothing || (path !== "/nodes" && path !== "/map" && !node)) && <h1 class={path === "/" ? "hidden" : ""}>{title}</h1>}
        {node && !nothing ? (
          <NodePage key={node} id={node} />
        ) : Page ? (
          <Page />
        ) : (
          <div class="card nothing">
            <p>
              Page {path} does not exist. Back to the <a href={href("/")}>Overview</a>.
            </p>
          </div>
        )}
      </main>
      <Sources meta={meta} />
    </>
  );
}
