// A colour for each service: taken from its name, so that it is the same on every visit, and the next one that is free when two names
// want the same. The name always stands beside it.

export type Colours = Map<string, number>;

const COLOURS = 8;

export function serviceColours(names: Iterable<string>): Colours {
  const taken = new Set<number>();
  const colours: Colours = new Map();
  for (const name of [...new Set(names)].sort()) {
    let colour = wanted(name);
    while (taken.has(colour) && taken.size < COLOURS) colour = (colour + 1) % COLOURS;
    taken.add(colour);
    colours.set(name, colour);
  }
  return colours;
}

function wanted(name: string): number {
  let hash = 5;
  for (let at = 0; at < name.length; at += 1) hash = (hash * 33 + name.charCodeAt(at)) % 65_521;
  return hash % COLOURS;
}

export function ServiceDot({ name, colours }: { name: string; colours: Colours }) {
  return <span class={`service-dot service-${colours.get(name) ?? 0}`} aria-hidden="true" />;
}
