/** Numbers and times as people read them, with their units. */

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateClock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const NONE = "–";

export function count(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value < 100_000 ? whole.format(value) : compact.format(value);
}

/** Milliseconds: `0.4 ms`, `230 ms`, `1.25 s`, `2 min 5 s`. */
export function ms(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(2)} s`;
  return `${Math.floor(value / 60_000)} min ${Math.round((value % 60_000) / 1000)} s`;
}

export function seconds(value: number | null | undefined): string {
  return value == null ? NONE : ms(value * 1000);
}

/** US dollars, small sums with the digits that they need. */
export function usd(value: string | number | null | undefined): string {
  if (value == null || value === "") return NONE;
  const number = Number(value);
  if (number === 0) return "$0";
  if (Math.abs(number) >= 1) return `$${number.toFixed(2)}`;
  const digits = Math.min(9, Math.max(2, 2 - Math.floor(Math.log10(Math.abs(number)))));
  return `$${number.toFixed(digits)}`;
}

/** A share from 0 to 1. */
export function percent(value: number | null | undefined, digits = 1): string {
  return value == null ? NONE : `${(value * 100).toFixed(digits)}%`;
}

export function number(value: number | null | undefined): string {
  if (value == null) return NONE;
  return Math.abs(value) >= 1000 ? whole.format(Math.round(value)) : String(Number(value.toPrecision(3)));
}

export function time(text: string | null | undefined): string {
  return text ? clock.format(new Date(text)) : NONE;
}

export function dateTime(text: string | null | undefined): string {
  return text ? dateClock.format(new Date(text)) : NONE;
}

/** How long ago: `12 s ago`, `3 h ago`. */
export function ago(text: string | null | undefined): string {
  if (!text) return NONE;
  const passed = Math.max(0, (Date.now() - Date.parse(text)) / 1000);
  if (passed < 60) return `${Math.round(passed)} s ago`;
  if (passed < 3600) return `${Math.round(passed / 60)} min ago`;
  if (passed < 86_400) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86_400)} d ago`;
}

/** The beginning of an id. */
export function short(id: string): string {
  return id.length > 12 ? id.slice(0, 8) : id;
}
