/** Where an answer cites passages: `[1]`, `[2, 3]`. */
export interface Piece {
  text: string;
  /** Numbers of passages; empty: plain text. */
  numbers: number[];
}

const CITED = /\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;

/** A passage's text as pieces; `numbers` of those that are quoted name the quotes, from 0. None is found: all of it. */
export function quoted(text: string, quotes: readonly string[]): Piece[] {
  const marks: [number, number, number][] = [];
  quotes.forEach((quote, number) => {
    const at = quote ? text.indexOf(quote) : -1;
    if (at >= 0) marks.push([at, at + quote.length, number]);
  });
  if (!marks.length) return [{ text, numbers: [0] }];
  const made: Piece[] = [];
  let at = 0;
  for (const [start, end, number] of marks.sort((one, other) => one[0] - other[0])) {
    if (end <= at) continue;
    if (start > at) made.push({ text: text.slice(at, start), numbers: [] });
    made.push({ text: text.slice(Math.max(at, start), end), numbers: [number] });
    at = end;
  }
  if (at < text.length) made.push({ text: text.slice(at), numbers: [] });
  return made;
}

/** A text as pieces; a number that is no passage's stays text. */
export function pieces(text: string, known: ReadonlySet<number>): Piece[] {
  const made: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(CITED)) {
    const numbers = match[1]!.split(",").map(Number);
    if (!numbers.every((number) => known.has(number))) continue;
    if (match.index > at) made.push({ text: text.slice(at, match.index), numbers: [] });
    made.push({ text: match[0], numbers });
    at = match.index + match[0].length;
  }
  if (at < text.length) made.push({ text: text.slice(at), numbers: [] });
  return made;
}
