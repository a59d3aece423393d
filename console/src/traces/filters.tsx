// What traces are asked for.

import { useWords } from "../i18n/index.ts";
import { Select, TextField, Toggle } from "../parts/choice.tsx";
import { useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import type { JaegerAnswer } from "./jaeger.ts";

const LOOKBACKS = { "15m": 900, "1h": 3_600, "6h": 21_600, "1d": 86_400 } as const;
type Lookback = keyof typeof LOOKBACKS;
const NAMES = Object.keys(LOOKBACKS) as Lookback[];

export function lookbackSeconds(text: string): number {
  return LOOKBACKS[lookback(text)];
}

function lookback(text: string): Lookback {
  return NAMES.find((name) => name === text) ?? "1h";
}

export function TraceFilters({ services, service, onAgain }: { services: string[]; service: string; onAgain: () => void }) {
  const t = useWords();
  const { address, set } = useLocation();
  const operations = usePolled<JaegerAnswer<string>>(service ? `/api/services/${encodeURIComponent(service)}/operations` : null);
  const all = services.includes(service) || !service ? services : [service, ...services];
  const names = [...new Set([...(operations.data?.data ?? []), address.operation].filter(Boolean))].sort();
  return (
    <div class="toolbar" role="search" aria-label={t("filter.title")}>
      <Select label={t("traces.service")} name="service" value={service} choices={all.map((value) => ({ value, text: value }))} onChange={(value) => set({ service: value, operation: "" }, "push")} />
      <Select label={t("traces.operation")} name="operation" value={address.operation} choices={[{ value: "", text: t("traces.allOperations") }, ...names.map((value) => ({ value, text: value }))]} onChange={(operation) => set({ operation }, "push")} />
      <TextField label={t("traces.tags")} name="tags" value={address.tags} placeholder="http.response.status_code=503" onInput={(tags) => set({ tags })} width="wide" />
      <TextField label={t("traces.min")} name="min" value={address.minDuration} placeholder="10ms" onInput={(minDuration) => set({ minDuration })} width="narrow" />
      <TextField label={t("traces.max")} name="max" value={address.maxDuration} placeholder="1s" onInput={(maxDuration) => set({ maxDuration })} width="narrow" />
      <Select label={t("filter.window")} name="lookback" value={lookback(address.lookback)} choices={NAMES.map((value) => ({ value, text: t(`lookback.${value}`) }))} onChange={(value) => set({ lookback: value === "1h" ? "" : value }, "push")} />
      <Toggle name="failed" on={address.failed} onChange={(failed) => set({ failed }, "push")}>
        {t("filter.onlyErrors")}
      </Toggle>
      <button type="button" class="button" onClick={onAgain}>
        {t("traces.again")}
      </button>
    </div>
  );
}
