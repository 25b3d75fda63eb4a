/** The looks, as a sheet that all elements share: a strict CSP forbids `<style>` also within a shadow root. */

export const SHEET = new CSSStyleSheet();

SHEET.replaceSync(`
:host {
  display: block;
  container-type: inline-size;
  font: var(--scan-progress-font, inherit);
  color: var(--scan-progress-color, inherit);
  line-height: 1.4;
}
:host([hidden]) { display: none; }
[part="base"] {
  display: grid;
  gap: var(--scan-progress-gap, 0.5rem);
  padding: var(--scan-progress-padding, 0.75rem);
  border: 1px solid var(--scan-progress-border, color-mix(in srgb, currentColor 25%, transparent));
  border-radius: var(--scan-progress-radius, 0.5rem);
  background: var(--scan-progress-background, transparent);
}
[part="head"], [part="foot"] { display: flex; flex-wrap: wrap; gap: 0.25rem 0.75rem; align-items: baseline; }
[part="standing"] { font-weight: 600; }
[part="remaining"], [part="line"], [part="remark"], [part="outcome"] { opacity: 0.8; }
[part="percentage"], [part="count"], [part="remaining"] { font-variant-numeric: tabular-nums; }
[part="cancel"] { margin-inline-start: auto; font: inherit; padding: 0.15rem 0.75rem; min-height: 1.75rem; }
[part="bar"] { width: 100%; height: 0.75rem; accent-color: var(--scan-progress-accent, auto); }
[part="strategies"] { list-style: none; margin: 0; padding: 0; display: grid; gap: 0.15rem; }
[part="strategy"] { display: grid; grid-template-columns: minmax(7rem, 1fr) 3fr; gap: 0.75rem; overflow-wrap: anywhere; }
@container (max-width: 24rem) { [part="strategy"] { grid-template-columns: 1fr; gap: 0; } }
:host([status="failed"]) [part="standing"], [part="refusal"] { color: var(--scan-progress-danger, light-dark(#b00020, #ff8a80)); }
p { margin: 0; overflow-wrap: anywhere; }
[hidden] { display: none !important; }
[part="spoken"] { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
`);
