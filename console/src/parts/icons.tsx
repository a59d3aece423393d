// Drawings of sixteen pixels, in the colour of the text beside them. They carry no meaning alone: each stands beside a word or in a
// control that has a name.

const PATHS = {
  pause: "M5 3v10M11 3v10",
  play: "M5 3l7.500 5L5 13z",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  fit: "M2.500 6V2.500H6M10 2.500h3.500V6M13.500 10v3.500H10M6 13.500H2.500V10",
  arrange: "M2.500 3h4v4h-4zM9.500 9h4v4h-4zM6.500 5h5v4",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.500 5.500h7v8h-7zM3 10.500V2.500h7",
  done: "M3 8.500l3.500 3.500L13 4.500",
  sun: "M8 5a3 3 0 100 6 3 3 0 000-6zM8 1v1.500M8 13.500V15M1 8h1.500M13.500 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13 9.500A5.500 5.500 0 116.500 3a4.500 4.500 0 006.500 6.500z",
  search: "M7 2.500a4.500 4.500 0 100 9 4.500 4.500 0 000-9zM10.500 10.500L14 14",
  motion: "M2 5h5M2 8h9M2 11h6M12 4l2 1-2 1M13 10l2 1-2 1",
  back: "M10 3L5 8l5 5",
  forward: "M6 3l5 5-5 5",
  down: "M3 6l5 5 5-5",
  warning: "M8 2l6.500 11.500h-13zM8 6.500v3M8 11.500v.5",
  lock: "M4 7.500h8v6H4zM5.500 7.500V5a2.500 2.500 0 015 0v2.500",
  unlock: "M4 7.500h8v6H4zM5.500 7.500V5a2.500 2.500 0 014.800-1",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
