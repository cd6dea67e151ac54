import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  plugins: [svelte()],
  build: {
    outDir: "../headrace_tracing/web",
    emptyOutDir: true,
    target: "es2022",
    // the content security policy allows neither scripts nor styles inside the page
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
  },
});
