/**
 * An attachment for what may be larger than its frame: it takes the focus while it is, so that the keyboard can scroll
 * it too (WCAG 2.1.1; axe: scrollable-region-focusable).
 */
export function scrolls(node: HTMLElement): () => void {
  function look() {
    if (node.scrollHeight > node.clientHeight || node.scrollWidth > node.clientWidth) node.tabIndex = 0;
    else node.removeAttribute("tabindex");
  }
  const sizes = new ResizeObserver(look);
  sizes.observe(node);
  const contents = new MutationObserver(look);
  contents.observe(node, { childList: true, subtree: true, characterData: true });
  return () => {
    sizes.disconnect();
    contents.disconnect();
  };
}
