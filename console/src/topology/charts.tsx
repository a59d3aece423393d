// Rate, errors and latency over time. The chart library is half of all foreign code, so it is fetched when a panel opens.

import { useEffect, useRef } from "preact/hooks";
import { query } from "../api/client.ts";
import type { Series } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import { useDark } from "../state/settings.ts";
import type { Chart, ChartPlan } from "./chart.ts";

const EVERY_SECONDS = 5; // The server's step.

export function Charts({ edge, node }: { edge?: string; node?: string }) {
  const t = useWords();
  const { address } = useLocation();
  // A minute has a dozen points, which is no chart, and the total has none.
  const window = { "1m": "5m", total: "24h" }[address.window as string] ?? address.window;
  const { data, failure } = usePolled<Series>(query("/api/v1/topology/series", { edge, node, window }), EVERY_SECONDS);
  if (failure && !data) return <p class="quiet">{t("charts.none")}</p>;
  if (data && data.points.length < 2) return <p class="quiet">{t("charts.none")}</p>;
  const points = data?.points ?? [];
  const times = points.map((point) => Date.parse(point.at) / 1000);
  const plans: ChartPlan[] = [
    { title: t("unit.requestsPerSecond"), unit: "rate", lines: [{ name: t("chart.rate"), ink: "--chart-1", values: points.map((p) => p.rps) }], fill: true },
    { title: t("label.errors"), unit: "share", lines: [{ name: t("label.errors"), ink: "--failing", values: points.map((p) => p.error_share) }], fill: true },
    {
      title: t("chart.latency"),
      unit: "milliseconds",
      lines: (["p50", "p95", "p99"] as const).map((name, at) => ({ name, ink: `--chart-${at + 1}`, values: points.map((p) => p[name] ?? null) })),
      fill: false,
    },
  ];
  return (
    <div class="charts" data-charts={points.length}>
      {plans.map((plan, at) => (
        <Plot key={at} plan={plan} times={times} />
      ))}
    </div>
  );
}

function Plot({ plan, times }: { plan: ChartPlan; times: number[] }) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const dark = useDark();
  const latest = useRef({ plan, times });
  latest.current = { plan, times };

  useEffect(() => {
    let gone = false;
    void import("./chart.ts").then(({ draw }) => {
      if (gone || !place.current) return;
      chart.current = draw(place.current, latest.current.plan);
      chart.current.update(latest.current.times, latest.current.plan);
    });
    return () => {
      gone = true;
      chart.current?.destroy();
      chart.current = null;
    };
  }, [dark, plan.title]);
  useEffect(() => chart.current?.update(times, plan));
  return (
    <figure class="chart">
      <figcaption>{plan.title}</figcaption>
      <div ref={place} class="chart-place" />
    </figure>
  );
}
