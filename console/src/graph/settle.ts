// The heights of nodes whose order in their columns is known: each as near to its neighbours as the distance between rows allows.
//
// For one column this is isotonic regression (pool adjacent violators): least squares under "the next stands at least a row
// lower". It is exact, linear, and has no parameter to tune.

const PASSES = 6; // Heights move less than a pixel afterwards.

interface Neighbours {
  out: number[][];
  in: number[][];
}

export function settle(columns: number[][], graph: Neighbours, row: number): Map<number, number> {
  const heights = new Map<number, number>();
  for (const column of columns) {
    column.forEach((node, at) => heights.set(node, (at - (column.length - 1) / 2) * row));
  }
  for (let pass = 0; pass < PASSES; pass += 1) {
    for (const column of pass % 2 === 0 ? columns : [...columns].reverse()) {
      const wishes = column.map((node) => wish(node, graph, heights));
      apart(wishes, row).forEach((y, at) => heights.set(column[at]!, y));
    }
  }
  return heights;
}

function wish(node: number, graph: Neighbours, heights: Map<number, number>): number {
  let sum = 0;
  let found = 0;
  for (const neighbour of [...graph.in[node]!, ...graph.out[node]!]) {
    const height = heights.get(neighbour);
    if (height === undefined) continue;
    sum += height;
    found += 1;
  }
  return found === 0 ? heights.get(node)! : sum / found;
}

// The values nearest to the wishes of which each exceeds the one before by `row` or more.
export function apart(wishes: number[], row: number): number[] {
  const blocks: { sum: number; size: number }[] = [];
  wishes.forEach((wanted, at) => {
    let block = { sum: wanted - at * row, size: 1 };
    for (let last = blocks[blocks.length - 1]; last && last.sum / last.size > block.sum / block.size; last = blocks[blocks.length - 1]) {
      block = { sum: block.sum + last.sum, size: block.size + last.size };
      blocks.pop();
    }
    blocks.push(block);
  });
  return blocks.flatMap(({ sum, size }) => Array<number>(size).fill(sum / size)).map((y, at) => y + at * row);
}
