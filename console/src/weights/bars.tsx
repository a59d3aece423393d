// A split as bars: what the files ask for, what the proxies have acknowledged, what requests really did. The three stand side by
// side because "it still goes to the old version" is the first question of every canary.

import type { Split, SplitDestination } from "../api/model.ts";
import { known, share } from "../format.ts";
import { useWords, type Key } from "../i18n/index.ts";
import { lagging } from "../topology/labels.ts";

const ROWS: readonly ["desired" | "acknowledged" | "observed", Key][] = [
  ["desired", "weights.desired"],
  ["acknowledged", "weights.acknowledged"],
  ["observed", "weights.observed"],
];

export function WeightBars({ split, highlight }: { split: Split; highlight?: string }) {
  return (
    <div class="weights">
      {split.destinations.map((destination) => (
        <Destination key={`${destination.service}/${destination.name}`} destination={destination} quiet={highlight !== undefined && highlight !== destination.name} />
      ))}
    </div>
  );
}

function Destination({ destination, quiet }: { destination: SplitDestination; quiet: boolean }) {
  const t = useWords();
  const { acknowledged_by: by, of } = destination;
  return (
    <div class={`weight ${quiet ? "weight-quiet" : ""}`} data-destination={destination.name}>
      <div class="weight-name">
        <b>{destination.name}</b>
        <span class={`weight-acks ${by < of ? "weight-acks-open" : ""}`} data-acks={`${by}/${of}`}>
          {t("weights.acks", { by, of })}
        </span>
      </div>
      {ROWS.map(([row, name]) => (
        <div class={`weight-row weight-row-${row} ${row === "acknowledged" && lagging(destination) ? "weight-row-lagging" : ""}`} key={row} data-row={row}>
          <span>{t(name)}</span>
          <svg width="100%" height="10" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
            <rect class="weight-track" x="0" y="2" width="100" height="6" />
            {known(destination[row]) && <rect class="weight-bar" x="0" y="2" width={Math.min(100, destination[row]! * 100)} height="6" />}
            <rect class="weight-wanted" x={Math.min(99.4, destination.desired * 100)} y="0" width="0.6" height="10" />
          </svg>
          <span class="weight-value">{share(destination[row])}</span>
        </div>
      ))}
    </div>
  );
}
