/** The page's place: a path below /console/ and a query, both in the address, so every view is a link. */
const BASE = "/console/";

const state = $state({ path: "", query: new URLSearchParams() });

function read(): void {
  state.path = decodeURI(location.pathname.startsWith(BASE) ? location.pathname.slice(BASE.length) : "");
  state.query = new URLSearchParams(location.search);
}

read();
window.addEventListener("popstate", read);

export const place = {
  /** For example `traces/4bf9...`; empty for the overview. */
  get path(): string {
    return state.path;
  },
  get query(): URLSearchParams {
    return state.query;
  },
};

/** Address of a page of the console. Empty values are left out of the query. */
export function href(path: string, query: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const text = new URLSearchParams(kept).toString();
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  return BASE + encoded + (text ? `?${text}` : "");
}

export function go(to: string, replace = false): void {
  history[replace ? "replaceState" : "pushState"](null, "", to);
  read();
  if (!replace) window.scrollTo(0, 0);
}

/** Change some parameters of the query and stay on the page; an empty value removes one. */
export function setQuery(changes: Record<string, string>, replace = false): void {
  const query = new URLSearchParams(state.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), replace);
}

/** Follow links within the console without loading the page anew. */
export function followLinks(event: MouseEvent): void {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.target || link.origin !== location.origin || !link.pathname.startsWith(BASE)) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
