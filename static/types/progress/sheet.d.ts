/** The looks, as a sheet that all elements share: a strict CSP forbids `<style>` also within a shadow root. */
export const SHEET: CSSStyleSheet;
