// What is asked of the mesh and what is drawn of the answer.

import { useRef } from "preact/hooks";
import { useWords } from "../i18n/index.ts";
import { Segmented, Select, TextField, Toggle } from "../parts/choice.tsx";
import { LABELS, TYPES, WINDOWS } from "../state/address.ts";
import { useLocation } from "../state/location.tsx";

export function Toolbar({ namespaces }: { namespaces: string[] }) {
  const t = useWords();
  const { address, set } = useLocation();
  return (
    <div class="toolbar" role="search" aria-label={t("filter.title")}>
      <Segmented label={t("filter.window")} name="window" value={address.window} choices={WINDOWS.map((value) => ({ value, text: t(`window.${value}`) }))} onChange={(window) => set({ window }, "push")} />
      <Select label={t("filter.type")} name="type" value={address.type} choices={TYPES.map((value) => ({ value, text: t(`type.${value}`) }))} onChange={(type) => set({ type, node: "", edge: "" }, "push")} />
      <Select label={t("filter.label")} name="label" value={address.label} choices={LABELS.map((value) => ({ value, text: t(`label.${value}`) }))} onChange={(label) => set({ label })} />
      <Namespaces names={namespaces} />
      <TextField label={t("filter.find")} name="find" value={address.find} placeholder={t("filter.findHint")} onInput={(find) => set({ find })} />
      <TextField label={t("filter.hide")} name="hide" value={address.hide} onInput={(hide) => set({ hide })} width="narrow" />
      <Toggle name="errors" on={address.onlyErrors} onChange={(onlyErrors) => set({ onlyErrors })}>
        {t("filter.onlyErrors")}
      </Toggle>
      <Toggle name="boxes" on={address.boxes} onChange={(boxes) => set({ boxes })}>
        {t("filter.boxes")}
      </Toggle>
    </div>
  );
}

// Those that were seen, and those that the address names although nothing of them was seen.
function Namespaces({ names }: { names: string[] }) {
  const t = useWords();
  const { address, set } = useLocation();
  const seen = useRef(new Set<string>());
  for (const name of [...names, ...address.namespaces]) seen.current.add(name);
  const chosen = address.namespaces;
  const flip = (name: string) => set({ namespaces: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name], node: "", edge: "" }, "push");
  return (
    <details class="menu" data-menu="namespaces" onKeyDown={(event) => event.key === "Escape" && ((event.currentTarget as HTMLDetailsElement).open = false)}>
      <summary>
        <span class="field-label">{t("filter.namespace")}</span>
        <span class="menu-value">{chosen.length === 0 ? t("filter.allNamespaces") : chosen.join(", ")}</span>
      </summary>
      <div class="menu-list">
        {[...seen.current].sort().map((name) => (
          <label class="check" key={name}>
            <input type="checkbox" name="namespace" value={name} checked={chosen.includes(name)} onChange={() => flip(name)} />
            {name}
          </label>
        ))}
        {chosen.length > 0 && (
          <button type="button" class="button button-small" onClick={() => set({ namespaces: [] }, "push")}>
            {t("filter.allNamespaces")}
          </button>
        )}
      </div>
    </details>
  );
}
