/** Something loaded from the platform: its value, whether it is loading, and what went wrong. */
import { untrack } from "svelte";
import { ApiError } from "./api";

export interface Resource<T> {
  readonly value: T | undefined;
  readonly loading: boolean;
  readonly error: ApiError | undefined;
  /** Load it again and keep what is shown until then. */
  reload(): void;
}

/**
 * Load something now, again whenever what `load` reads changes, and every `everyMs` where that is above 0.
 *
 * What was loaded stays while it is loaded again. A page that is hidden does not ask. Answers that come after newer
 * questions are dropped.
 */
export function resource<T>(load: (signal: AbortSignal) => Promise<T>, everyMs: () => number = () => 0): Resource<T> {
  let held = $state.raw<{ value?: T; loading: boolean; error?: ApiError }>({ loading: true });
  let turn = $state(0);

  $effect(() => {
    void turn;
    const every = everyMs();
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;

    async function once(): Promise<void> {
      try {
        const value = await load(abort.signal);
        if (!abort.signal.aborted) held = { value, loading: false };
      } catch (error) {
        if (abort.signal.aborted) return;
        held = { value: untrack(() => held.value), loading: false, error: error instanceof ApiError ? error : new ApiError(String(error), 0, "") };
      }
      if (!abort.signal.aborted && every > 0) timer = setTimeout(again, every);
    }

    function again(): void {
      if (document.hidden) timer = setTimeout(again, every);
      else void once();
    }

    void once();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  });

  return {
    get value() {
      return held.value;
    },
    get loading() {
      return held.loading;
    },
    get error() {
      return held.error;
    },
    reload() {
      turn += 1;
    },
  };
}
