export class View {
    /** @param {ShadowRoot} root @param {() => void} cancel */
    constructor(root: ShadowRoot, cancel: () => void);
    /** @param {Shown} shown */
    show(shown: Shown): void;
    /** The scan cannot be followed. @param {ScanError} error */
    refuse(error: ScanError): void;
    /** The scan was not cancelled. @param {ScanError} error */
    regret(error: ScanError): void;
    /** Nothing counts down any more. */
    rest(): void;
    /** Another scan, or the same anew. */
    begin(): void;
    #private;
}
export type ScanError = import("../scanstream/errors.js").ScanError;
export type Connection = import("../scanstream/line.js").Connection;
export type Plain = import("../scanstream/patch.js").Plain;
export type Shown = {
    state: Plain;
    /**
     * whether there is a scan at all
     */
    named: boolean;
    connection: Connection | null;
    /**
     * whether it may be cancelled from here
     */
    cancels: boolean;
};
