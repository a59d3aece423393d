// A colour for each service, the same on every visit: taken from its name. The name always stands beside it.

const COLOURS = 8;

export function serviceColour(name: string): number {
  let hash = 5;
  for (let at = 0; at < name.length; at += 1) hash = (hash * 33 + name.charCodeAt(at)) % 65_521;
  return hash % COLOURS;
}

export function ServiceDot({ name }: { name: string }) {
  return <span class={`service-dot service-${serviceColour(name)}`} aria-hidden="true" />;
}
