// Every view and every filter is an address; links are relative to the app's root, so any prefix will do.

import { useEffect, useState } from "./vendor/hooks.js";
import { root } from "./api.js";

const MOVED = "bide:moved";

/** Where we are: the path's parts below the root, decoded, and the query. */
export function place() {
  const path = location.pathname.slice(root.pathname.length);
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(location.search) };
}

/** The address of a view: its path's parts, and a query as an object (empty values are left out). */
export function href(parts, query = {}) {
  const url = new URL([parts].flat().map(encodeURIComponent).join("/"), root);
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) {
      if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, each);
    }
  }
  return url.pathname + url.search;
}

export function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new Event(MOVED));
}

export function usePlace() {
  const [at, set] = useState(place);
  useEffect(() => {
    const moved = () => set(place());
    addEventListener("popstate", moved);
    addEventListener(MOVED, moved);
    return () => (removeEventListener("popstate", moved), removeEventListener(MOVED, moved));
  }, []);
  return at;
}

/** Change parts of the query; with `replace`, the way back leads past this change. */
export function setQuery(changes, { replace = false } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") query.append(name, each);
  }
  const text = query.toString();
  go(location.pathname + (text && `?${text}`), { replace });
}

/** Links marked `data-link` change the view without loading the page anew. */
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-link]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
  scrollTo(0, 0);
});
