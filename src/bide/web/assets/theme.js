// Before the first paint, or a chosen theme would flash in late.
document.documentElement.dataset.theme = localStorage.getItem("bide.theme") ?? "system";
