/** A list that is loaded a page at a time: the newest first, more of them when asked. */
import { ask, withQuery } from "./api";
import { resource, type Resource } from "./resource.svelte";
import type { List } from "./types";

export interface Paged<T> extends Resource<T[]> {
  /** There are more. */
  readonly more: boolean;
  readonly loadingMore: boolean;
  /** Why the next page could not be loaded; empty: nothing went wrong. */
  readonly moreError: string;
  /** Load the next page below what is shown. */
  next(): Promise<void>;
}

/**
 * The list at a path, again from its beginning whenever what `query` reads changes, and every `everyMs` where that is above 0.
 *
 * A page that arrives after the list began anew is dropped: it belongs to another list.
 */
export function paged<T>(path: string, query: () => Record<string, string | number>, everyMs: () => number = () => 0): Paged<T> {
  let older = $state.raw<T[]>([]);
  let token = $state("");
  let loading = $state(false);
  let failed = $state("");
  let turn = 0;

  const first = resource(async (signal) => {
    const found = await ask<List<T>>(withQuery(path, query()), { signal });
    turn += 1;
    older = [];
    token = found.next_page_token ?? "";
    loading = false;
    failed = "";
    return found.data;
  }, everyMs);

  return {
    get value() {
      return first.value && [...first.value, ...older];
    },
    get loading() {
      return first.loading;
    },
    get error() {
      return first.error;
    },
    get more() {
      return token !== "";
    },
    get loadingMore() {
      return loading;
    },
    get moreError() {
      return failed;
    },
    reload: () => first.reload(),
    async next() {
      const asked = turn;
      loading = true;
      failed = "";
      try {
        const found = await ask<List<T>>(withQuery(path, { ...query(), page_token: token }));
        if (asked !== turn) return;
        older = [...older, ...found.data];
        token = found.next_page_token ?? "";
      } catch (error) {
        if (asked !== turn) return;
        failed = error instanceof Error ? error.message : String(error);
      }
      loading = false;
    },
  };
}
