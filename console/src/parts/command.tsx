// The command line that gives the same answer, ready to be taken.

import { useEffect, useState } from "preact/hooks";
import { useWords } from "../i18n/index.ts";
import { Icon } from "./icons.tsx";

const SHOWN_MS = 1_600; // Long enough to be noticed.

export function Command({ line }: { line: string }) {
  const t = useWords();
  const [copied, set] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => set(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);

  return (
    <div class="command">
      <code data-command>{line}</code>
      <button type="button" class="icon-button" aria-label={t("command.copy")} title={t("command.copy")} onClick={() => void copy(line).then(set)}>
        <Icon name={copied ? "done" : "copy"} />
      </button>
      <span class="unseen" role="status">
        {copied ? t("command.copied") : ""}
      </span>
    </div>
  );
}

// The clipboard wants a secure context; on plain HTTP from another machine the selection of a text area is all there is.
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
