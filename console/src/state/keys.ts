// Single keys for those who like them; they can be switched off (WCAG 2.1.4), and never act while somebody types.

import { useEffect } from "preact/hooks";
import { settings } from "./settings.ts";

export function useKeys(keys: Record<string, (event: KeyboardEvent) => void>): void {
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (event.key.length === 1 && !settings().shortcuts) return;
      const action = keys[event.key];
      // An open dialog has the keyboard for itself.
      if (!action || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      action(event);
    };
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  });
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "checkbox" && target.type !== "radio");
}
