// Remembers where every node stood, for as long as the page lives, so that a refresh moves nobody.

import { useMemo, useRef, useState } from "preact/hooks";
import { layout, type Point } from "../graph/layout.ts";
import type { Picture } from "../graph/select.ts";

const REMEMBERED_MAX = 4_000; // More than any mesh that is drawn; workloads that come and go must not fill the memory.

export interface Places {
  places: Map<string, Point>;
  // Another number whenever somebody was moved: the window may then fit itself to the picture again.
  version: number;
  rearrange(): void;
}

// `kind` separates pictures that have nothing in common: each remembers its own places.
export function usePlaces(picture: Picture, kind: string, group: (id: string) => string): Places {
  const memory = useRef(new Map<string, Map<string, Point>>());
  const version = useRef(0);
  const [round, again] = useState(0);
  const signature = useMemo(
    () => `${picture.nodes.map((n) => n.id).join("\n")}\n\n${picture.edges.map((e) => e.id).join("\n")}`,
    [picture],
  );

  const places = useMemo(() => {
    const before = memory.current.get(kind);
    const vertices = picture.nodes.map((node) => ({ id: node.id, group: group(node.id) }));
    const result = layout(vertices, picture.edges, before);
    if (result.moved) version.current += 1;
    const kept = result.moved || (before?.size ?? 0) > REMEMBERED_MAX ? [] : [...(before ?? [])];
    memory.current.set(kind, new Map([...kept, ...result.places]));
    return result.places;
    // The signature stands for the picture: numbers change every second, names do not.
  }, [signature, kind, round]);

  return {
    places,
    version: version.current,
    rearrange() {
      memory.current.delete(kind);
      again((n) => n + 1);
    },
  };
}
