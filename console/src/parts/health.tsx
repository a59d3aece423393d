// Health as a shape and a colour, so that neither alone must be told apart: a ring is idle, a full circle is well, a triangle is
// degraded, an eight-cornered stop sign is failing.

import type { Health } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";

const SHAPES: Record<Health, string> = {
  healthy: "M0-5a5 5 0 110 10A5 5 0 010-5z",
  degraded: "M0-5.500L5.800 4.800H-5.800z",
  failing: "M-2.300-5.500H2.300L5.500-2.300V2.300L2.300 5.500H-2.300L-5.500 2.300V-2.300z",
  idle: "M0-4.500a4.500 4.500 0 110 9 4.500 4.500 0 010-9z",
};
const MARKS: Record<Health, string> = {
  healthy: "",
  degraded: "M0-2v3M0 2.600v.8",
  failing: "M-2-2l4 4M2-2l-4 4",
  idle: "",
};

// Inside a drawing, around its own origin.
export function HealthShape({ health }: { health: Health }) {
  return (
    <g class={`health health-${health}`} data-shape={health}>
      <path class="health-body" d={SHAPES[health]} />
      {MARKS[health] && <path class="health-mark" d={MARKS[health]} />}
    </g>
  );
}

// In a line of text.
export function HealthMark({ health, word = true }: { health: Health; word?: boolean }) {
  const t = useWords();
  const name = t(`health.${health}`);
  return (
    <span class="health-inline">
      <svg width="14" height="14" viewBox="-7 -7 14 14" role="img" aria-label={word ? undefined : name} aria-hidden={word}>
        <HealthShape health={health} />
      </svg>
      {word && <span>{name}</span>}
    </span>
  );
}
