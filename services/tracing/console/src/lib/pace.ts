/** What is spent of a budget as its period goes on, and where that leads. Times are milliseconds since 1970, in UTC. */
import type { Budget } from "./types";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Before this share of a period is over, its pace says nothing. */
const SOON = 0.05;

export interface Period {
  start: number;
  end: number;
  step: number;
}

/** The day or the month that a moment is in. */
export function periodOf(per: string, now: number): Period {
  const date = new Date(now);
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  if (per === "day") return { start: Date.UTC(year, month, day), end: Date.UTC(year, month, day + 1), step: HOUR };
  return { start: Date.UTC(year, month), end: Date.UTC(year, month + 1), step: DAY };
}

export interface Pace {
  /** The ends of the period's steps, its start before them. */
  times: number[];
  /** Spent until each time, null for what is to come. */
  spent: (number | null)[];
  /** Where a straight line from the start through now leads, null before now. */
  ahead: (number | null)[];
  /** What the whole period comes to at this pace, null where it is too soon to say. */
  total: number | null;
}

/** Sums by step (their beginnings, and dollars) as a course through the period. */
export function paceOf(period: Period, sums: [number, number][], now: number): Pace {
  const by = new Map(sums);
  const times = [period.start];
  for (let time = period.start; time < period.end; time += period.step) times.push(time + period.step);
  let total = 0;
  const spent = times.map((time) => {
    if (time - period.step >= now) return null;
    total += by.get(time - period.step) ?? 0;
    return total;
  });
  const over = (now - period.start) / (period.end - period.start);
  const soon = over < SOON;
  const last = spent.findLastIndex((value) => value !== null);
  const end = soon ? null : total / over;
  const ahead = times.map((time, index) => {
    if (end === null || index < last) return null;
    return index === last ? total : total + ((end - total) * (time - now)) / (period.end - now);
  });
  return { times, spent, ahead, total: end };
}

/** The used share of a budget, what is reserved included; 1 is all of it. */
export function usedOf(budget: Budget): number {
  return (Number(budget.spent_usd) + Number(budget.reserved_usd)) / (Number(budget.budget_usd) || 1);
}
