import { useAPI } from "../api";
import { Histogram } from "../chart/small";
import { num } from "../format";
import { Term } from "../glossary";
import { Card } from "../ui/card";
import { NothingYet } from "../ui/states";
import { SubnetsCard } from "./overview";

export function SubnetsPage() {
  const subnets = useAPI("/api/v1/subnets");
  if (!subnets.answer) return subnets.loading ? <div class="grid" role="status" aria-label="Loading" /> : <NothingYet problem={subnets.problem} />;
  const { data, meta } = subnets.answer;
  const groups = data.custody_group_counts.filter((c) => c.custody_group_count !== null);
  const rest = data.custody_group_counts.find((c) => c.custody_group_count === null)?.nodes ?? 0;
  const bands: [number, number, string][] = [
    [0, 3, "0–3"],
    [4, 4, "4"],
    [5, 7, "5–7"],
    [8, 8, "8"],
    [9, 15, "9–15"],
    [16, 31, "16–31"],
    [32, 63, "32–63"],
    [64, 127, "64–127"],
    [128, Infinity, "128"],
  ];
  return (
    <div class="grid">
      <SubnetsCard wide />
      <Card class="half" title="Custody groups" sub={rest ? `${num(rest)} nodes do not report it` : "of 128, by nodes"} method={<>Since Fulu a node with validators keeps eight <Term name="custody group">groups</Term> or more, one per 32 ETH; one without keeps four.</>} meta={meta} rows={data.custody_group_counts.map((c) => ({ ...c }))}>
        <Histogram label="Nodes by custody group count" columns={bands.map(([low, high, label]) => ({ label, value: groups.filter((c) => c.custody_group_count! >= low && c.custody_group_count! <= high).reduce((n, c) => n + c.nodes, 0), muted: high < 8 }))} />
      </Card>
    </div>
  );
}
