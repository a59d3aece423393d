// Numbers as people read them. A column of them keeps its width: three significant digits, a space before the unit.

const NOTHING = "–";

export function significant(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.01) return "<0.01";
  if (size < 10) return trim(value.toFixed(2));
  if (size < 100) return trim(value.toFixed(1));
  return value.toFixed(0);
}

function trim(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

export function count(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  if (value < 10_000) return Math.round(value).toLocaleString("en-US");
  if (value < 999_500) return `${significant(value / 1e3)}k`;
  if (value < 999_500_000) return `${significant(value / 1e6)}M`;
  return `${significant(value / 1e9)}G`;
}

export function rate(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  return value < 9_995 ? significant(value) : count(value);
}

export function share(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  const percent = value * 100;
  if (percent > 0 && percent < 0.1) return "<0.1 %";
  if (percent > 99.9 && percent < 100) return ">99.9 %";
  return `${trim(percent.toFixed(1))} %`;
}

export function milliseconds(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  if (value === 0) return "0 ms";
  if (value < 1) return `${significant(value * 1000)} µs`;
  if (value < 1_000) return `${significant(value)} ms`;
  if (value < 60_000) return `${significant(value / 1000)} s`;
  return `${Math.floor(value / 60_000)} min ${Math.round((value % 60_000) / 1000)} s`;
}

export function bytes(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let rest = value;
  let unit = 0;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(rest) : significant(rest)} ${units[unit]}`;
}

// A length of time in its two largest units: `2 d 4 h`, `3 min 20 s`, `12 s`.
export function span(seconds: number): string {
  if (!known(seconds)) return NOTHING;
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor((whole % 86_400) / 3_600), "h"],
    [Math.floor((whole % 3_600) / 60), "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

export function since(at: string | null | undefined, now: number): string {
  const then = at ? Date.parse(at) : Number.NaN;
  return Number.isFinite(then) ? span((now - then) / 1000) : NOTHING;
}

export function clock(at: number): string {
  const date = new Date(at);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function known(value: number | null | undefined): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
