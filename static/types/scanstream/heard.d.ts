export type Heard<Events extends Record<string, unknown>> = {
    addEventListener<Name extends keyof Events & string>(name: Name, listener: Listener<Events[Name]> | null, options?: boolean | AddEventListenerOptions): void;
    removeEventListener<Name extends keyof Events & string>(name: Name, listener: Listener<Events[Name]> | null, options?: boolean | EventListenerOptions): void;
};
export type Listener<Detail> = ((event: CustomEvent<Detail>) => void) | {
    handleEvent(event: CustomEvent<Detail>): void;
};
