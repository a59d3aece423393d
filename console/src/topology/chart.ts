// One small time series, drawn by uPlot with the page's own colours.

import uPlot from "uplot";
import { clock, milliseconds, rate, share } from "../format.ts";

const HEIGHT = 92;

export interface ChartPlan {
  title: string;
  unit: "rate" | "share" | "milliseconds";
  lines: { name: string; ink: string; values: (number | null)[] }[];
  fill: boolean;
}

export interface Chart {
  update(times: number[], plan: ChartPlan): void;
  destroy(): void;
}

const UNITS = { rate, share, milliseconds };

export function draw(place: HTMLElement, plan: ChartPlan): Chart {
  const style = getComputedStyle(place);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const show = UNITS[plan.unit];
  const font = `11px ${style.fontFamily}`;
  const axis = { stroke: colour("--ink-quiet"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: HEIGHT,
      padding: [6, 18, 0, 0],
      cursor: { y: false, points: { size: 5 }, drag: { x: false, y: false } },
      legend: { show: true, live: true, markers: { width: 2 } },
      hooks: { setCursor: [(self) => (self.cursor.left ?? -1) < 0 && latest(self)] },
      scales: { y: { range: (_, __, high) => [0, high > 0 ? high * 1.15 : plan.unit === "share" ? 0.01 : 1] } },
      axes: [
        { ...axis, size: 22, values: (_, ticks) => ticks.map((at) => clock(at * 1000).slice(0, 5)), space: 70 },
        { ...axis, size: 54, values: (_, ticks) => ticks.map((value) => show(value)), space: 26 },
      ],
      series: [
        { value: (_, at) => (at === null ? "" : clock(at * 1000)) },
        ...plan.lines.map((line) => ({
          label: line.name,
          stroke: colour(line.ink),
          width: 1.5,
          points: { show: false },
          fill: plan.fill ? `color-mix(in srgb, ${colour(line.ink)} 14%, transparent)` : undefined,
          value: (_: uPlot, value: number | null) => show(value),
        })),
      ],
    },
    [[], ...plan.lines.map(() => [])],
    place,
  );
  const watcher = new ResizeObserver(() => {
    if (place.clientWidth > 0) chart.setSize({ width: place.clientWidth, height: HEIGHT });
  });
  watcher.observe(place);
  return {
    update(times, next) {
      chart.setData([times, ...next.lines.map((line) => line.values)] as uPlot.AlignedData);
      if ((chart.cursor.left ?? -1) < 0) latest(chart);
    },
    destroy() {
      watcher.disconnect();
      chart.destroy();
    },
  };
}

// Without a pointer the legend says what is now.
function latest(chart: uPlot): void {
  const last = chart.data[0].length - 1;
  if (last >= 0) chart.setLegend({ idx: last }, false);
}
