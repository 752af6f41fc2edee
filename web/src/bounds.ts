// What concentration could be when shares are anywhere in their intervals, and what is of no known
// group is of the largest one or spread over many. The bounds are wide: not all of this is so at once.

export interface Share {
  share: number;
  low: number | null;
  high: number | null;
}

/** The fewest groups whose shares add up to more than a part; null when all together do not. */
function fewest(shares: number[], part: number): number | null {
  let sum = 0;
  const at = shares.toSorted((a, b) => b - a).findIndex((s) => (sum += s) > part);
  return at < 0 ? null : at + 1;
}

/** The shares at the lower and at the upper ends. */
function ends(list: Share[], unknown: number): [number[], number[]] | null {
  if (list.length === 0 || list.some((s) => s.low === null || s.high === null)) return null;
  const high = list.map((s) => s.high!).sort((a, b) => b - a);
  high[0] += unknown;
  return [list.map((s) => s.low!), high];
}

/** How many groups hold more than a part at least, and at most; null where that is not known. */
export function holders(list: Share[], unknown: number, part: number): [number | null, number | null] {
  const e = ends(list, unknown);
  return e ? [fewest(e[1], part), fewest(e[0], part)] : [null, null];
}

const squares = (shares: number[]) => shares.reduce((s, x) => s + (100 * x) ** 2, 0);

/** The Herfindahl-Hirschman index at the ends of the intervals; null where they are not known. */
export function index(list: Share[], unknown: number): [number | null, number | null] {
  const e = ends(list, unknown);
  return e ? [squares(e[0]), Math.min(10_000, squares(e[1]))] : [null, null];
}
