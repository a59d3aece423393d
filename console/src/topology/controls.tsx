// What lies over the drawing's corner: zoom, fit, arrange, motion, and what the signs mean.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Health } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { HealthMark } from "../parts/health.tsx";
import { Icon, type IconName } from "../parts/icons.tsx";
import { change, useSettings } from "../state/settings.ts";
import type { Hold } from "./use_view.ts";

export function Controls({ hold, onArrange, moving, reduced }: { hold: Hold; onArrange: () => void; moving: boolean; reduced: boolean }) {
  const t = useWords();
  const { particles } = useSettings();
  const [legend, setLegend] = useState(false);
  const button = (icon: IconName, name: string, action: () => void) => (
    <button type="button" class="icon-button" aria-label={name} title={name} onClick={action}>
      <Icon name={icon} />
    </button>
  );
  return (
    <div class="controls">
      {legend && <Legend />}
      <div class="controls-bar" role="toolbar" aria-label={t("graph.controls")}>
        {button("plus", t("graph.zoomIn"), () => hold.zoomBy(1.25))}
        {button("minus", t("graph.zoomOut"), () => hold.zoomBy(0.8))}
        {button("fit", t("graph.fit"), hold.fit)}
        {button("arrange", t("graph.arrange"), () => {
          onArrange();
          hold.fit();
        })}
        <button
          type="button"
          class="icon-button"
          data-particles={moving}
          aria-pressed={particles && !reduced}
          disabled={reduced}
          aria-label={reduced ? t("graph.motionReduced") : t("graph.motion")}
          title={reduced ? t("graph.motionReduced") : t("graph.motion")}
          onClick={() => change({ particles: !particles })}
        >
          <Icon name="motion" />
        </button>
        <button type="button" class="text-button" aria-expanded={legend} onClick={() => setLegend(!legend)}>
          {t("graph.legend")}
        </button>
      </div>
    </div>
  );
}

const HEALTHS: readonly Health[] = ["healthy", "degraded", "failing", "idle"];

function Legend() {
  const t = useWords();
  const row = (sign: ComponentChildren, text: string) => (
    <div class="legend-row">
      <span class="legend-sign">{sign}</span>
      {text}
    </div>
  );
  return (
    <div class="legend" role="note">
      {HEALTHS.map((health) => row(<HealthMark health={health} word={false} />, `${t(`health.${health}`)} · ${t(`health.${health}Means`)}`))}
      {row(<Icon name="lock" size={13} />, t("mtls.mutual"))}
      {row(<Icon name="unlock" size={13} />, t("mtls.none"))}
      {row(<span class="legend-weight">90 → 90 → 89</span>, t("weights.legend"))}
      {row(<span class="legend-dots">• •</span>, t("graph.dots"))}
    </div>
  );
}
