// What a reader chose for this browser: language, colours, motion, keys. Remembered where the browser allows it, otherwise for
// as long as the page lives.

import { useEffect, useState } from "preact/hooks";

export const LANGUAGES = ["en", "zh"] as const;
export const THEMES = ["auto", "light", "dark"] as const;

export interface Settings {
  language: (typeof LANGUAGES)[number];
  theme: (typeof THEMES)[number];
  particles: boolean;
  shortcuts: boolean;
}

const KEY = "tidegate.console";
const listeners = new Set<() => void>();
let current: Settings = read();

export function settings(): Settings {
  return current;
}

export function change(part: Partial<Settings>): void {
  current = { ...current, ...part };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // Storage is forbidden or full: the choice holds until the page is closed.
  }
  apply();
  for (const listener of listeners) listener();
}

export function useSettings(): Settings {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((n) => n + 1);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return current;
}

// Tells the style sheet and the reader's software.
export function apply(): void {
  const root = document.documentElement;
  root.lang = current.language === "zh" ? "zh-Hans" : "en";
  if (current.theme === "auto") delete root.dataset["theme"];
  else root.dataset["theme"] = current.theme;
}

function read(): Settings {
  const initial: Settings = { language: preferred(), theme: "auto", particles: true, shortcuts: true };
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Record<string, unknown>;
    return {
      language: LANGUAGES.find((language) => language === stored["language"]) ?? initial.language,
      theme: THEMES.find((theme) => theme === stored["theme"]) ?? initial.theme,
      particles: typeof stored["particles"] === "boolean" ? stored["particles"] : initial.particles,
      shortcuts: typeof stored["shortcuts"] === "boolean" ? stored["shortcuts"] : initial.shortcuts,
    };
  } catch {
    return initial;
  }
}

function preferred(): Settings["language"] {
  const languages = typeof navigator === "undefined" ? [] : (navigator.languages ?? [navigator.language]);
  for (const language of languages) {
    const known = LANGUAGES.find((one) => language.toLowerCase().startsWith(one));
    if (known) return known;
  }
  return "en";
}

// A system that asks for less motion gets none.
export function useReducedMotion(): boolean {
  return useMedia("(prefers-reduced-motion: reduce)");
}

export function useDark(): boolean {
  const { theme } = useSettings();
  const system = useMedia("(prefers-color-scheme: dark)");
  return theme === "auto" ? system : theme === "dark";
}

function useMedia(query: string): boolean {
  const [holds, set] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const listener = () => set(media.matches);
    media.addEventListener("change", listener);
    return () => media.removeEventListener("change", listener);
  }, [query]);
  return holds;
}
