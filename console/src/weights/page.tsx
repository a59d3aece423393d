// Every split of requests between versions: what the files want, how many proxies have it, what really happened.

import { CLI } from "../cli.ts";
import type { Split } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { Command } from "../parts/command.tsx";
import { Empty, Failure, Loading } from "../parts/notices.tsx";
import { goTo } from "../state/address.ts";
import { useLive } from "../state/feed_context.tsx";
import { Link, useLocation } from "../state/location.tsx";
import { WeightBars } from "./bars.tsx";

export function WeightsPage() {
  const t = useWords();
  const live = useLive();
  const { address } = useLocation();
  const { data, failure } = live.splits;
  if (!data) return failure ? <Failure failure={failure} onRetry={live.retry} /> : <Loading />;
  const shown = data.splits.filter((split) => address.namespaces.length === 0 || address.namespaces.includes(split.namespace));
  if (shown.length === 0) return <Empty title={t("weights.none")}><p>{t("weights.noneHelp")}</p></Empty>;
  // Where there is something to share out comes first.
  const sorted = [...shown].sort((a, b) => Number(b.destinations.length > 1) - Number(a.destinations.length > 1) || a.host.localeCompare(b.host));
  return (
    <div class="scroll">
      <p class="lead">{t("weights.lead")}</p>
      <div class="cards">
        {sorted.map((split) => (
          <SplitCard key={`${split.kind}/${split.namespace}/${split.name}/${split.route}/${split.source}/${split.host}/${split.gateway ?? ""}`} split={split} />
        ))}
      </div>
    </div>
  );
}

function SplitCard({ split }: { split: Split }) {
  const t = useWords();
  const { address } = useLocation();
  const [file = ""] = split.source.split(":");
  return (
    <article class="card" data-split={`${split.namespace}/${split.name}/${split.route}`}>
      <header>
        <h2>{split.host}</h2>
        <p class="quiet">
          {split.kind}{" "}
          <Link to={goTo(address, "policies", { file, policy: `${split.kind}/${split.namespace}/${split.name}` })}>
            {split.namespace}/{split.name}
          </Link>
          {split.route && ` · ${t("weights.route", { route: split.route })}`} {split.gateway && ` · ${t("weights.gateway", { gateway: split.gateway })}`} · <span class="mono">{split.source}</span>
        </p>
      </header>
      <WeightBars split={split} />
      <Command line={CLI.object(split)} />
    </article>
  );
}
