/** Types only: an EventTarget whose events are known, so that `event.detail` has the type that its event has. */

/**
 * @template {Record<string, unknown>} Events by name, what `detail` of each is
 * @typedef {{
 *   addEventListener<Name extends keyof Events & string>(name: Name, listener: Listener<Events[Name]> | null, options?: boolean | AddEventListenerOptions): void,
 *   removeEventListener<Name extends keyof Events & string>(name: Name, listener: Listener<Events[Name]> | null, options?: boolean | EventListenerOptions): void,
 * }} Heard
 */
/**
 * @template Detail
 * @typedef {((event: CustomEvent<Detail>) => void) | { handleEvent(event: CustomEvent<Detail>): void }} Listener
 */

export {};
