/** Where an answer cites passages: `[1]`, `[2, 3]`. */
export interface Piece {
  text: string;
  /** Numbers of passages; empty: plain text. */
  numbers: number[];
}

const CITED = /\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;

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
