// The command line that gives the same answer as what a page shows. The only place that spells commands, so that a test can hold
// every line against the binary.

import type { Address } from "./state/address.ts";

export const CLI = {
  topology: ({ window, namespaces, type }: Pick<Address, "window" | "namespaces" | "type">) =>
    line("tidegate topology", { window, namespace: namespaces.join(","), type: type === "versionedApp" ? "" : type, o: "table" }),
  edges: ({ window, namespaces, type }: Pick<Address, "window" | "namespaces" | "type">) =>
    line("tidegate edges", { window, namespace: [...new Set(namespaces.filter(Boolean))].join(","), type: type === "versionedApp" ? "" : type, o: "table" }),
  status: () => "tidegate status",
  object: ({ kind, namespace, name }: { kind: string; namespace: string; name: string }) =>
    `tidegate status ${quote(kind)} ${quote(namespace ? `${namespace}/${name}` : name)}`,
  check: ({ directory }: { directory: string }) => `tidegate check ${quote(directory)}`,
  explainCode: ({ code }: { code: string }) => `tidegate explain ${quote(code)}`,
} as const;

function line(command: string, flags: Record<string, string>): string {
  const words = Object.entries(flags)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name.length === 1 ? "-" : "--"}${name} ${quote(value)}`);
  return [command, ...words].join(" ");
}

// What a shell would take apart stands in single quotes.
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
