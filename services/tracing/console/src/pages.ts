/** All pages: their paths below /console/, their place in the menu, and the key that leads there after `g`. */
import type { Component } from "svelte";
import Compare from "./pages/Compare.svelte";
import Drift from "./pages/Drift.svelte";
import Missing from "./pages/Missing.svelte";
import Overview from "./pages/Overview.svelte";
import Playground from "./pages/Playground.svelte";
import Review from "./pages/Review.svelte";
import Reviews from "./pages/Reviews.svelte";
import Rollout from "./pages/Rollout.svelte";
import Rollouts from "./pages/Rollouts.svelte";
import Sessions from "./pages/Sessions.svelte";
import Trace from "./pages/Trace.svelte";
import Traces from "./pages/Traces.svelte";
import Usage from "./pages/Usage.svelte";

export interface Page {
  /** Without the id, where it has one. */
  path: string;
  menu: string;
  key: string;
  component: Component;
  /** Shown to keys with this scope; an admin sees all. */
  scope?: string;
}

export const PAGES: Page[] = [
  { path: "", menu: "Overview", key: "o", component: Overview },
  { path: "traces", menu: "Traces", key: "t", component: Traces },
  { path: "sessions", menu: "Sessions", key: "s", component: Sessions },
  { path: "compare", menu: "Compare", key: "c", component: Compare },
  { path: "drift", menu: "Drift", key: "d", component: Drift },
  { path: "rollouts", menu: "Rollouts", key: "r", component: Rollouts, scope: "admin" },
  { path: "reviews", menu: "Reviews", key: "v", component: Reviews, scope: "review" },
  { path: "usage", menu: "Usage", key: "u", component: Usage },
  { path: "playground", menu: "Playground", key: "p", component: Playground },
];

const DETAILS: Record<string, { component: Component<{ id: string }>; title: string }> = {
  traces: { component: Trace, title: "Trace" },
  reviews: { component: Review, title: "Review" },
  rollouts: { component: Rollout, title: "Rollout" },
};

export interface Found {
  /** One of the two is there. */
  page?: Component;
  detail?: Component<{ id: string }>;
  menu: string;
  title: string;
  id: string;
}

/** The page that a path leads to. */
export function pageOf(path: string): Found {
  const [first = "", id = "", ...rest] = path.replace(/\/$/, "").split("/");
  const page = PAGES.find((entry) => entry.path === first);
  const detail = DETAILS[first];
  if (page && !rest.length) {
    if (!id) return { page: page.component, menu: page.menu, title: page.menu, id };
    if (detail) return { detail: detail.component, menu: page.menu, title: detail.title, id };
  }
  return { detail: Missing, menu: "", title: "No such page", id: path };
}
