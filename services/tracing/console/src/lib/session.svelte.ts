/** Who is logged in. The key itself is sent once and kept nowhere. */
import { ApiError, ask, send } from "./api";

export interface Who {
  tenant: string;
  key: { id: string; name: string };
  scopes: string[];
}

const state = $state<{ who: Who | null; known: boolean; notice: string }>({ who: null, known: false, notice: "" });

export const session = {
  get who(): Who | null {
    return state.who;
  },
  /** Whether it is known by now if somebody is logged in. */
  get known(): boolean {
    return state.known;
  },
  /** Why the login page is shown, where there is a reason. */
  get notice(): string {
    return state.notice;
  },
  get admin(): boolean {
    return state.who?.scopes.includes("admin") ?? false;
  },
  /** Whether the key has a scope, or needs none; an admin may all. */
  may(scope?: string): boolean {
    return !scope || this.admin || (state.who?.scopes.includes(scope) ?? false);
  },
  /** Ask who is logged in. */
  async look(): Promise<void> {
    try {
      state.who = await ask<Who>("/console/session");
    } catch (error) {
      state.who = null;
      if (!(error instanceof ApiError && error.status === 401)) {
        state.notice = error instanceof Error ? error.message : String(error);
      }
    }
    state.known = true;
  },
  /** Begin a session. Throws ApiError. */
  async login(key: string): Promise<void> {
    state.who = await ask<Who>("/console/session", { method: "POST", body: { key } });
    state.notice = "";
  },
  async logout(): Promise<void> {
    await send("/console/session", { method: "DELETE" });
    state.who = null;
    state.notice = "";
  },
  /** The platform no longer knows the session. */
  ended(): void {
    if (state.who) state.notice = "Your session has ended: log in again.";
    state.who = null;
  },
};
