// The keys, in a dialog of the browser: it keeps the focus and closes on Escape by itself.

import { useEffect, useRef } from "preact/hooks";
import { useWords, type Key } from "../i18n/index.ts";
import { change, useSettings } from "../state/settings.ts";
import { Icon } from "./icons.tsx";

const KEYS: readonly [string, Key][] = [
  ["?", "keys.help"],
  ["1 – 5", "keys.pages"],
  ["/", "keys.find"],
  ["← ↑ → ↓", "keys.walk"],
  ["Enter", "keys.open"],
  ["Esc", "keys.close"],
  ["+  −", "keys.zoom"],
  ["F", "keys.fit"],
  ["P", "keys.pause"],
  ["T", "keys.theme"],
];

export function Help({ onClose }: { onClose: () => void }) {
  const t = useWords();
  const { shortcuts } = useSettings();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="help-title" onClose={onClose}>
      <header>
        <h2 id="help-title">{t("help.title")}</h2>
        <button type="button" class="icon-button" aria-label={t("panel.close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      <dl class="keys">
        {KEYS.map(([key, meaning]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{t(meaning)}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input type="checkbox" checked={shortcuts} onChange={(event) => change({ shortcuts: (event.currentTarget as HTMLInputElement).checked })} />
        {t("help.single")}
      </label>
    </dialog>
  );
}
