/** Light, dark, or as the system has it. The choice is the only thing that the console keeps in the browser's storage. */
export type Theme = "system" | "light" | "dark";

const KEY = "headrace-theme";
const media = window.matchMedia("(prefers-color-scheme: dark)");
const state = $state({ choice: read(), dark: false });

function read(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

/** Bring the page to the chosen theme. */
export function applyTheme(): void {
  state.dark = state.choice === "dark" || (state.choice === "system" && media.matches);
  document.documentElement.dataset.theme = state.dark ? "dark" : "light";
}

media.addEventListener("change", applyTheme);

export const theme = {
  get choice(): Theme {
    return state.choice;
  },
  get dark(): boolean {
    return state.dark;
  },
  /** The next of the three. */
  turn(): void {
    state.choice = state.choice === "system" ? (state.dark ? "light" : "dark") : state.choice === "dark" ? "light" : "dark";
    localStorage.setItem(KEY, state.choice);
    applyTheme();
  },
};
