// Words in the reader's language. A key is checked by the compiler, in both languages; `{name}` stands for a value, and
// `{name:edge:edges}` for one of two words, as there is one or there are more.

import { useSettings } from "../state/settings.ts";
import { en, type Dictionary, type Key } from "./en.ts";
import { zh } from "./zh.ts";

export type Values = Record<string, string | number>;
export type Translate = (key: Key, values?: Values) => string;

export const DICTIONARIES: Record<"en" | "zh", Dictionary> = { en, zh };
const TRANSLATE: Record<"en" | "zh", Translate> = { en: translator(en), zh: translator(zh) };

export function useWords(): Translate {
  return TRANSLATE[useSettings().language];
}

export function translator(dictionary: Dictionary): Translate {
  return (key, values) => {
    const text = dictionary[key];
    if (!values) return text;
    return text.replace(/\{(\w+)(?::(\w+):(\w+))?\}/g, (whole, name: string, one?: string, more?: string) => (one && more ? (String(values[name]) === "1" ? one : more) : String(values[name] ?? whole)));
  };
}

export type { Key };
