/** Times that pages look at, by the name that stands in the address. */
export const RANGES: Record<string, { label: string; seconds: number; bucket: number }> = {
  "1h": { label: "Last hour", seconds: 3600, bucket: 60 },
  "24h": { label: "Last 24 hours", seconds: 86_400, bucket: 1800 },
  "7d": { label: "Last 7 days", seconds: 604_800, bucket: 10_800 },
  "30d": { label: "Last 30 days", seconds: 2_592_000, bucket: 43_200 },
};

/** The range of a name, with the moment at which it begins, as RFC 3339. */
export function rangeOf(name: string | null, fallback = "24h"): { name: string; from: string; seconds: number; bucket: number } {
  const known = name && RANGES[name] ? name : fallback;
  const range = RANGES[known]!;
  return { name: known, ...range, from: new Date(Date.now() - range.seconds * 1000).toISOString() };
}

/** The starts of all buckets of a range, in milliseconds since 1970: where nothing happened there is a bucket too. */
export function buckets(from: string, to: string, bucket: number): number[] {
  const step = bucket * 1000;
  const made: number[] = [];
  for (let time = Math.floor(Date.parse(from) / step) * step; time < Date.parse(to); time += step) made.push(time);
  return made;
}
