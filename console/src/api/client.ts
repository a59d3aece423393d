// Asks the control plane. Every question has a deadline, and every failure becomes one of two kinds that a page can explain:
// nobody answered, or somebody answered "no".

const ASK_SECONDS_MAX = 15; // Longer than any answer takes; shorter than a person waits before pressing reload.

export class AskFailed extends Error {
  constructor(
    message: string,
    readonly status: number | null,
  ) {
    super(message);
  }

  // Nobody answered: the control plane is gone, or the way to it.
  get unreachable(): boolean {
    return this.status === null || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  const deadline = AbortSignal.timeout(ASK_SECONDS_MAX * 1000);
  const response = await fetch(path, {
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    headers: { accept: "application/json" },
  }).catch((cause: unknown) => {
    if (signal?.aborted) throw cause;
    throw new AskFailed(String(cause), null);
  });
  if (!response.ok) throw new AskFailed(await reason(response), response.status);
  try {
    return (await response.json()) as T;
  } catch {
    throw new AskFailed(`${path} did not answer with JSON`, response.status);
  }
}

// The server's own words, when it has some.
async function reason(response: Response): Promise<string> {
  const text = (await response.text().catch(() => "")).slice(0, 500);
  try {
    const body = JSON.parse(text) as { error?: unknown; message?: unknown };
    const words = body.error ?? body.message;
    if (typeof words === "string") return words;
  } catch {
    // Not JSON: the text itself is the reason.
  }
  return text.trim() && !text.includes("<") ? text.trim() : `${response.status} ${response.statusText}`;
}

export function query(path: string, parameters: Record<string, string | number | null | undefined | string[]>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}
